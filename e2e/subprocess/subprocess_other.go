//go:build !linux

package subprocess

import "syscall"

// DieWithParent does nothing where there is no such thing: a test that is killed leaves its processes behind.
func DieWithParent() *syscall.SysProcAttr { return nil }
