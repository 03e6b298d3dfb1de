package devserver

import "syscall"

// childAttributes put the child in a group of its own, so that Ctrl-C reaches
// it only after the worker has drained, and make it end when we are killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
