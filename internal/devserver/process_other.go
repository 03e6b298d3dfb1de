//go:build !linux

package devserver

import "syscall"

// childAttributes: only Linux ties a child's life to ours.
func childAttributes() *syscall.SysProcAttr { return nil }
