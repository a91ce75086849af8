package subprocess

import "syscall"

// DieWithParent has the kernel end a process when the test that started it is gone, however that ended.
func DieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
