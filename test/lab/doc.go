// Package lab builds real libvirt hosts and guests on one machine, breaks them
// on purpose, and watches them from outside.
//
// A lab's host is a network namespace with its own mount, PID, UTS and IPC
// namespaces, its own /run, /etc/libvirt and /var/lib/libvirt, and a real
// virtlogd and libvirtd in it. A lab's guest is a QEMU process started by that
// libvirtd; inside it runs the witness (test/lab/witness), which writes a
// growing number to its disk and says on its console what is safely there. A
// sampler outside of libvirt reads /proc and records every start and end of a
// QEMU process, and every time that two of them ran the same guest.
//
// A guest also has a guest agent, with time, exec and freeze of the file systems,
// a screen, a serial console that its host keeps in a file, a watchdog, a network
// interface with an address at which it answers by HTTP, and a channel by which
// the lab tells it to be busy, to fill its disk, to fall silent and so on
// ([Lab.Do]). All else that can go wrong is a [FaultKind]; some need a lab that
// was built for them ([Options]).
//
// The root namespace is where the worker under test runs; it reaches the hosts
// and the guests over TCP. Each lab has one /24 of 198.18.0.0/15 (set aside for benchmarks by
// RFC 2544), and one interface in the root namespace, whose other end is on a
// bridge in a namespace of its own: the machine's firewall does not see what
// passes between the hosts.
//
// Everything a lab creates has a name that follows from the lab's folder, so
// that [Lab.Down] finds all of it even when nothing was written down.
package lab
