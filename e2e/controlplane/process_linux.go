package controlplane

import "syscall"

// dieWithParent has the kernel end a component when the test that started it is gone, however that ended.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
