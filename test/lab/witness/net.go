package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/task"
)

const (
	nic = "eth0"
	// frameSize is far above the usual: under emulation each frame costs the same,
	// whatever its length.
	frameSize = 32 << 10
)

// flood sends frames to everybody on the guest's network, where nobody is.
func flood(o task.Options) (work, error) {
	rate := o.Rate
	if rate == 0 {
		rate = task.DefaultNetRate
	}
	fd, err := openNIC()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", nic, err)
	}
	frame := make([]byte, frameSize)
	for i := range 12 {
		frame[i] = 0xFF // to all; from nobody in particular
	}
	frame[6] = 0x02
	binary.BigEndian.PutUint16(frame[12:], 0x88B5) // set aside for experiments
	perSecond := max(1, rate*1_000_000/frameSize)
	return func(ctx context.Context, count *atomic.Int64) error {
		defer unix.Close(fd)
		began := time.Now()
		for {
			if err := pace(ctx, began, count.Load(), perSecond); err != nil {
				return nil
			}
			_, err := unix.Write(fd, frame)
			if err != nil && !errors.Is(err, unix.ENOBUFS) {
				return fmt.Errorf("send: %w", err)
			}
			count.Add(1)
		}
	}, nil
}

// openNIC returns a socket that sends whole frames on the interface. The switch
// that it is on carries none of this size any further than to the host.
func openNIC() (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	fail := func(what string, err error) (int, error) {
		unix.Close(fd)
		return -1, fmt.Errorf("%s: %w", what, err)
	}
	request, err := unix.NewIfreq(nic)
	if err != nil {
		return fail("name", err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
		return fail("find it", err)
	}
	index := int(request.Uint32())
	request.SetUint32(frameSize)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, request); err != nil {
		return fail("set its MTU", err)
	}
	if err := setLink(fd, nic); err != nil {
		return fail("take it up", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
		return fail("bind to it", err)
	}
	return fd, nil
}

// setLink takes an interface up.
func setLink(fd int, name string) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
		return err
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// addressOption is the interface's address, such as 198.18.7.151/24, on the
// kernel's command line.
const addressOption = "lab.address"

// network gives the interface its address. A guest whose definition has none
// does without, and so does one that has no interface.
func network() error {
	option, err := kernelOption(addressOption)
	if err != nil || option == "" {
		return err
	}
	prefix, err := netip.ParsePrefix(option)
	if err != nil {
		return err
	}
	// Neighbours learn at once where the guest is now: it may have been elsewhere.
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/all/arp_notify", []byte("1"), 0); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	mask := netip.AddrFrom4([4]byte(net.CIDRMask(prefix.Bits(), 32)))
	for _, step := range []struct {
		command uint
		address netip.Addr
	}{{unix.SIOCSIFADDR, prefix.Addr()}, {unix.SIOCSIFNETMASK, mask}} {
		request, err := unix.NewIfreq(nic)
		if err != nil {
			return err
		}
		if err := request.SetInet4Addr(step.address.AsSlice()); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, step.command, request); err != nil {
			return fmt.Errorf("give %s its address %s: %w", nic, option, err)
		}
	}
	return errors.Join(setLink(fd, "lo"), setLink(fd, nic))
}
