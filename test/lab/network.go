package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/netns"
)

// makeNetwork picks a free subnet, and makes the lab's switch with a link to the
// root namespace. The address of that link is what makes the subnet taken.
func (l *Lab) makeNetwork(ctx context.Context) error {
	unlock, err := lockMachine()
	if err != nil {
		return err
	}
	defer unlock()
	taken, err := localPrefixes()
	if err != nil {
		return err
	}
	network, err := freeSubnet(firstSubnet(l.id), taken)
	if err != nil {
		return err
	}
	l.info.Subnet = network.String()
	for i := range l.info.Hosts {
		host := &l.info.Hosts[i]
		host.Address = hostAddress(network, i).String()
		host.URI = "qemu+tcp://" + host.Address + "/system"
	}
	for i := range l.info.VMs {
		l.info.VMs[i].Address = vmAddress(network, i).String()
	}
	if err := l.save(); err != nil {
		return err
	}
	if err := netns.Create(ctx, switchNetNS(l.id)); err != nil {
		return err
	}
	if err := netns.IP(ctx, "",
		fmt.Sprintf("link add %s type veth peer name root netns %s", uplink(l.id), switchNetNS(l.id)),
		fmt.Sprintf("addr add %s/24 dev %s", rootAddress(network), uplink(l.id)),
		fmt.Sprintf("link set %s up", uplink(l.id)),
	); err != nil {
		return err
	}
	// The lab's folder, for whoever wonders whose interface this is, and for Orphans.
	// The kernel takes 255 bytes; a longer path goes without.
	_ = os.WriteFile(aliasFile(uplink(l.id)), []byte(l.info.Dir), 0)
	// No learning delay: a healed link must carry at once.
	return netns.IP(ctx, switchNetNS(l.id),
		"link add br0 type bridge stp_state 0 forward_delay 0",
		"link set root master br0 up",
		"link set br0 up")
}

// aliasFile holds what an interface is called by people.
func aliasFile(link string) string { return "/sys/class/net/" + link + "/ifalias" }

// localPrefixes are the networks that this machine has addresses in.
func localPrefixes() ([]netip.Prefix, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var prefixes []netip.Prefix
	for _, addr := range addrs {
		if prefix, err := netip.ParsePrefix(addr.String()); err == nil {
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes, nil
}

// freeSubnet is the first subnet from start, round to start again, that meets
// none of the taken prefixes.
func freeSubnet(start int, taken []netip.Prefix) (netip.Prefix, error) {
next:
	for i := range subnets {
		candidate := subnet((start + i) % subnets)
		for _, t := range taken {
			if t.Overlaps(candidate) {
				continue next
			}
		}
		return candidate, nil
	}
	return netip.Prefix{}, errors.New("no free /24 in 198.18.0.0/15: this machine has an address in each; take labs down with `lab down --all`")
}

// lockMachine keeps other labs of this machine from choosing a subnet at the
// same time. The lock is on a folder that is always there, so that no lock file
// is left.
func lockMachine() (unlock func(), err error) {
	dir, err := os.Open("/run")
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		dir.Close()
		return nil, fmt.Errorf("lock /run: %w", err)
	}
	return func() { dir.Close() }, nil
}
