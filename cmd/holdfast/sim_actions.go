package main

import "holdfast/internal/contract"

// simAction is one thing that holdfast sim can do.
type simAction struct {
	action string
	target string // VM or HOST
	// count is what the number after the target is; empty: it takes none.
	count string
	// some is a count for the example.
	some        string
	short, long string
	example     string // if there is more to show than the command
	on          bool   // it can be about one host
}

// simFailures are the actions whose count is how often something fails.
var simFailures = []simAction{
	{action: contract.SimFailStarts, target: "VM", on: true, short: "Let the next starts of a VM fail",
		long: `Let the next N starts of a VM fail, as with a disk that is not there: 1 if N is left
out, every one if it is "all", none if it is 0. With --on it is about those on one host.
After too many failures within a time Holdfast stops and asks a person.`,
		example: `  holdfast sim fail-starts VM2 all && holdfast sim kill VM2
  holdfast incident watch VM2 --wait 30s                     # exit code 3: needs a person
  holdfast sim fail-starts VM2 0 && holdfast recover VM2 --watch
  holdfast sim fail-starts VM1 all --on A                    # on another host it starts`},
	{action: contract.SimFailSnapshots, target: "VM", short: "Let the next snapshots of a VM fail",
		long: `Let the next N snapshots of a VM fail for want of room: 1 if N is left out, every one
if it is "all", none if it is 0. A repair that would put the VM back to a snapshot
keeps what there is by a snapshot first, and does not begin if that fails.`},
	{action: contract.SimFailReverts, target: "VM", short: "Let the next reverts of a VM to a snapshot fail",
		long: `Let the next N reverts of a VM to a snapshot fail for want of room: 1 if N is left out,
every one if it is "all", none if it is 0. A revert that fails changes nothing.`},
	{action: contract.SimFailBackups, target: "VM", short: "Let the next backups of a VM fail",
		long: `Let the next N backups of a VM fail for want of room: 1 if N is left out, every one if
it is "all", none if it is 0.`},
	{action: contract.SimFailRestores, target: "VM", short: "Let the next restores of a VM from a backup fail",
		long: `Let the next N restores of a VM from a backup fail for want of room: 1 if N is left out,
every one if it is "all", none if it is 0. A restore that fails changes nothing.`},
}

// simActions are the other actions of a simulated site. Each that breaks something
// stands before the one that mends it.
var simActions = []simAction{
	{action: contract.SimKill, target: "VM", short: "Kill the QEMU process of a VM",
		long: "Kill the QEMU process of a VM, as a crash or the OOM killer would.\nHoldfast starts the VM again."},
	{action: contract.SimPanic, target: "VM", short: "Let the guest's kernel panic",
		long: "Let the guest's kernel panic while its QEMU lives on, as on_crash=preserve does.\nHoldfast removes what is left and starts the VM again."},
	{action: contract.SimShutdown, target: "VM", short: "Shut a VM down in order, as a person would",
		long: "Shut a VM down in order, as a person would with virsh shutdown. That is intent:\nHoldfast leaves it stopped. holdfast recover starts it."},
	{action: contract.SimDestroy, target: "VM", short: "Pull the plug of a VM, as a person would",
		long: "Pull the plug of a VM, as a person would with virsh destroy. That is intent:\nHoldfast leaves it stopped. holdfast recover starts it."},
	{action: contract.SimLose, target: "VM", short: "Let a VM vanish from its host",
		long: "Let a VM vanish from its host, process and definition, as when its files are lost."},
	{action: contract.SimFind, target: "VM", short: "Bring back the definition of a VM that vanished",
		long: "Bring back the definition of a VM that vanished with holdfast sim lose, shut off, on the\nhost that had lost it."},

	{action: contract.SimHang, target: "VM", short: "Let the QEMU of a VM hang",
		long: "Let the QEMU of a VM hang, as a SIGSTOP does: it is still running in every listing, and\nits monitor does not answer."},
	{action: contract.SimUnhang, target: "VM", short: "Let a QEMU that hangs go on",
		long: "Let a QEMU go on after holdfast sim hang."},
	{action: contract.SimHangGuest, target: "VM", short: "Let the guest hang, with a QEMU that is well",
		long: "Let the guest hang with a QEMU that is well: its CPUs execute nothing, and its agent does\nnot answer."},
	{action: contract.SimUnhangGuest, target: "VM", short: "Let a guest that hangs go on",
		long: "Let a guest go on after holdfast sim hang-guest."},
	{action: contract.SimCorruptDisk, target: "VM", short: "Spoil what is on the disk of a VM",
		long: "Spoil what is on the disk of a VM. Its guest runs on, and does not get up the next time\nthat it boots, until it is put back to a snapshot or a backup\nfrom before."},
	{action: contract.SimDamageBackups, target: "VM", short: "Damage the backups of a VM",
		long: "Damage the files of all backups that a VM has now: their sums are no longer those of what\nwas written, so that none of them is restored. Later ones that build upon them are no\nbetter; a full one is."},
	{action: contract.SimMuteAgent, target: "VM", short: "Let the guest agent of a VM not answer",
		long: "Let the guest agent of a VM not answer, while it holds its channel open. The guest runs\non: that alone is no fault, unless the agent is expected and the VM has just started."},
	{action: contract.SimUnmuteAgent, target: "VM", short: "Let the guest agent of a VM answer again",
		long: "Let the guest agent of a VM answer again after holdfast sim mute-agent."},
	{action: contract.SimStopAgent, target: "VM", short: "Stop the guest agent of a VM",
		long: "Stop the guest agent of a VM until its next start: its channel is closed."},
	{action: contract.SimStartAgent, target: "VM", short: "Start the guest agent of a VM",
		long: "Start the guest agent of a VM after holdfast sim stop-agent."},
	{action: contract.SimSkewClock, target: "VM", count: "SECONDS", some: "30", short: "Set the guest's clock ahead",
		long: "Set the guest's clock ahead by so many seconds; 0 sets it right."},
	{action: contract.SimPause, target: "VM", short: "Pause a VM, as a person would",
		long: "Pause a VM, as a person would with virsh suspend. That is intent: it is no fault."},
	{action: contract.SimResume, target: "VM", short: "Let a paused VM go on",
		long: "Let a VM go on that is paused, for whatever reason."},
	{action: contract.SimIOError, target: "VM", short: "Let the disk of a VM fail",
		long: "Let the disk of a VM fail (EIO): QEMU pauses the VM."},
	{action: contract.SimNoSpace, target: "VM", short: "Leave no room for what a VM writes",
		long: "Leave no room for what a VM writes (ENOSPC): QEMU pauses the VM."},
	{action: contract.SimMendDisk, target: "VM", short: "Mend the disk of a VM",
		long: "Mend the disk of a VM after holdfast sim io-error or no-space. A VM that was paused for it\nstays so: holdfast sim resume lets it go on."},
	{action: contract.SimMemoryFailure, target: "VM", short: "Let memory of the host fail under a VM",
		long: "Let memory of the host fail under a VM: its guest is told, and so is whoever watches the\nhost."},
	{action: contract.SimWatchdog, target: "VM", short: "Let the watchdog of a VM fire",
		long: "Let the watchdog of a VM fire, as when its guest stops feeding it. The action is none: the\nVM runs on."},

	{action: contract.SimLoad, target: "VM", count: "PERCENT", some: "95", short: "Let a guest use its CPUs",
		long: "Let a guest use so much of its CPUs, in percent of all of them."},
	{action: contract.SimSteal, target: "VM", count: "PERCENT", some: "40", short: "Let the host withhold CPU from a VM",
		long: "Let the host withhold so much of a VM's CPUs, in percent: steal, as on a host that is\novercommitted."},
	{action: contract.SimFillMemory, target: "VM", count: "PERCENT", some: "95", short: "Let a guest use its memory",
		long: "Let a guest use so much of its memory, in percent, as its balloon tells."},
	{action: contract.SimSlowDisk, target: "VM", count: "MILLISECONDS", some: "300", short: "Slow the disk of a VM down",
		long: "Let each access of a VM to its disk take so many milliseconds."},
	{action: contract.SimDropPackets, target: "VM", count: "NUMBER", some: "500", short: "Drop packets of a VM's network",
		long: "Let the network of a VM drop so many packets a second."},
	{action: contract.SimCalm, target: "VM", short: "Let a guest do little",
		long: "Let a guest do little again, after holdfast sim load, steal, fill-memory, slow-disk and\ndrop-packets."},

	{action: contract.SimPowerOff, target: "HOST", short: "Cut a host's power",
		long: "Cut a host's power: its libvirtd and its VMs are gone at once."},
	{action: contract.SimPowerOn, target: "HOST", short: "Give a host its power back",
		long: "Give a host its power back. It boots, and none of its VMs runs: Holdfast starts those\nthat ran."},
	{action: contract.SimCut, target: "HOST", short: "Take a host off the network",
		long: "Take a host off the network. Its VMs run on and nobody can see it, so Holdfast must\nnot start them elsewhere."},
	{action: contract.SimHeal, target: "HOST", short: "Put a host back on the network",
		long: "Put a host back on the network after holdfast sim cut."},
	{action: contract.SimHangLibvirtd, target: "HOST", short: "Let libvirtd on a host hang",
		long: "Let libvirtd on a host hang, as a SIGSTOP does: calls get no answer, VMs run on."},
	{action: contract.SimKillLibvirtd, target: "HOST", short: "Kill libvirtd on a host",
		long: "Kill libvirtd on a host. Nothing listens there any more; VMs run on."},
	{action: contract.SimStartLibvirtd, target: "HOST", short: "Let libvirtd on a host run again",
		long: "Let libvirtd on a host run again after holdfast sim hang-libvirtd or kill-libvirtd. One\nthat hung then does what it was asked meanwhile."},
	{action: contract.SimLosePool, target: "HOST", short: "Take away the storage under a host's pool",
		long: "Take away the storage under the storage pool of a host: the pool is no longer active."},
	{action: contract.SimRestorePool, target: "HOST", short: "Bring back the storage under a host's pool",
		long: "Bring back the storage under the pool of a host after holdfast sim lose-pool."},
	{action: contract.SimFillPool, target: "HOST", count: "PERCENT", some: "95", short: "Fill the storage pool of a host",
		long: "Fill the storage pool of a host to so many percent."},
	{action: contract.SimLoadHost, target: "HOST", count: "PERCENT", some: "95", short: "Let a host use its CPUs",
		long: "Let a host use so much of its CPUs, in percent."},
	{action: contract.SimFillHostMemory, target: "HOST", count: "PERCENT", some: "95", short: "Let a host use its memory",
		long: "Let a host use so much of its memory, in percent."},
	{action: contract.SimCalmHost, target: "HOST", short: "Let a host do little",
		long: "Let a host do little again, and empty its pool, after holdfast sim load-host,\nfill-host-memory and fill-pool."},
}
