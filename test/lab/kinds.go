package lab

import "slices"

// FaultKind is one thing that the lab can do to a VM or a host, or undo.
type FaultKind string

// Faults, and what undoes them.
const (
	FaultKill          FaultKind = "kill"           // SIGKILL of a VM's QEMU
	FaultHang          FaultKind = "hang"           // SIGSTOP of a VM's QEMU
	FaultUnhang        FaultKind = "unhang"         // SIGCONT of a VM's QEMU
	FaultHangGuest     FaultKind = "hang-guest"     // a VM's virtual CPUs are stopped, its QEMU goes on
	FaultUnhangGuest   FaultKind = "unhang-guest"   // and let go
	FaultPanic         FaultKind = "panic"          // the guest's kernel panics
	FaultLose          FaultKind = "lose"           // a VM's host forgets it
	FaultFind          FaultKind = "find"           // and is told of it again
	FaultBreakDisk     FaultKind = "break-disk"     // a VM's second disk fails
	FaultMendDisk      FaultKind = "mend-disk"      // and works again
	FaultCorruptDisk   FaultKind = "corrupt-disk"   // what a VM boots from is overwritten
	FaultPowerOff      FaultKind = "power-off"      // a host loses its power
	FaultPowerOn       FaultKind = "power-on"       // and gets it back
	FaultCut           FaultKind = "cut"            // a host's network cable is pulled
	FaultHeal          FaultKind = "heal"           // and plugged in again
	FaultKillLibvirtd  FaultKind = "kill-libvirtd"  // SIGKILL of a host's libvirtd
	FaultHangLibvirtd  FaultKind = "hang-libvirtd"  // SIGSTOP of a host's libvirtd
	FaultStartLibvirtd FaultKind = "start-libvirtd" // started if dead, continued if stopped
	FaultLosePool      FaultKind = "lose-pool"      // a host's pool goes away
	FaultRestorePool   FaultKind = "restore-pool"   // and comes back
	FaultFillPool      FaultKind = "fill-pool"      // no room is left in a host's pool
	FaultEmptyPool     FaultKind = "empty-pool"     // and room again
)

// OnVM reports whether the fault is done to a VM; else it is done to a host.
func (k FaultKind) OnVM() bool {
	return slices.Contains([]FaultKind{
		FaultKill, FaultHang, FaultUnhang, FaultHangGuest, FaultUnhangGuest, FaultPanic, FaultLose, FaultFind,
		FaultBreakDisk, FaultMendDisk, FaultCorruptDisk,
	}, k)
}

// withoutQEMU reports whether the fault can be done to a VM that does not run; it
// is then done on the host that is named, or that the VM was made on.
func (k FaultKind) withoutQEMU() bool {
	return slices.Contains([]FaultKind{FaultLose, FaultFind, FaultBreakDisk, FaultMendDisk, FaultCorruptDisk}, k)
}
