package monitoring

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel end a process when the test that started it is gone, however that ended.
func dieWithParent(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
