package simulated

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"holdfast/internal/hypervisor"
)

// guest is how the operating system in a VM does, from one boot to the next.
type guest struct {
	hung    bool          // the vCPUs make no progress
	mute    bool          // its agent says nothing
	noAgent bool          // its agent was stopped
	down    bool          // it did not get up, as its disk is corrupt
	skew    time.Duration // how much its clock is ahead
}

const diskTarget = "vda"

// DiskErrors asks QEMU, so that it waits for one that hangs.
func (h *host) DiskErrors(ctx context.Context, uuid string) ([]hypervisor.DiskError, error) {
	return about(ctx, h, uuid, func(d *domain, done func([]hypervisor.DiskError, error)) {
		d.monitor(func() {
			switch {
			case !d.state.Active():
				done(nil, d.notActive("read the disk errors of"))
			case d.diskError == nil:
				done(nil, nil)
			default:
				done([]hypervisor.DiskError{*d.diskError}, nil)
			}
		})
	})
}

// GuestTime finds out at once that nobody answers, where libvirt takes its time.
func (h *host) GuestTime(ctx context.Context, uuid string) (time.Time, error) {
	return about(ctx, h, uuid, func(d *domain, done func(time.Time, error)) {
		if err := d.agentSilent(); err != nil {
			done(time.Time{}, err)
			return
		}
		done(time.Now().Add(d.guest.skew), nil)
	})
}

// agentSilent is why the guest's agent does not answer, or nil.
func (d *domain) agentSilent() error {
	noAgent := func(why string) error {
		return fmt.Errorf("ask the guest agent of %s on %s: %s: %w", d.vm.name, d.on.name, why, hypervisor.ErrNoAgent)
	}
	switch {
	case !d.state.Active():
		return d.notActive("ask the guest agent of")
	case !d.state.Running():
		return fmt.Errorf("ask the guest agent of %s on %s: it is %s: %w", d.vm.name, d.on.name, d.state, hypervisor.ErrInvalidState)
	case d.on.opts.NoAgents:
		return noAgent("it has none in its definition")
	case d.guest.noAgent, d.guest.down:
		return noAgent("it is not connected")
	case d.hung, d.guest.hung, d.guest.mute:
		return noAgent("it does not answer")
	}
	return nil
}

func (h *host) Annotate(ctx context.Context, uuid, element string) error {
	if err := wellFormed(element); err != nil {
		return fmt.Errorf("annotate %s on %s: the element is not XML: %w", uuid, h.m.name, err)
	}
	return h.act(ctx, uuid, func(d *domain, done func(error)) {
		d.annotation = element
		d.vm.annotated(element)
		d.on.tell(d, hypervisor.EventAnnotated, "")
		done(nil)
	})
}

// wellFormed: one element, or nothing.
func wellFormed(element string) error {
	if element == "" {
		return nil
	}
	in := xml.NewDecoder(strings.NewReader(element))
	elements := 0
	for {
		switch token, err := in.Token(); {
		case errors.Is(err, io.EOF) && elements > 0:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("there is no element in it")
		case err != nil:
			return err
		default:
			if _, ok := token.(xml.StartElement); ok {
				elements++
			}
		}
	}
}

// HangGuest is a guest whose kernel is stuck: QEMU answers and the domain is
// running, but its vCPUs make no progress and its agent is silent. A reset, or
// another boot, cures it.
func (c *Cluster) HangGuest(vm string) error {
	return c.changeGuest(vm, "hang the guest of", func(d *domain) { d.guest.hung = true })
}

// UnhangGuest lets it go on.
func (c *Cluster) UnhangGuest(vm string) error {
	return c.changeGuest(vm, "unhang the guest of", func(d *domain) { d.guest.hung = false })
}

// MuteAgent makes the guest's agent silent, and nothing else, until it boots.
func (c *Cluster) MuteAgent(vm string) error {
	return c.changeGuest(vm, "mute the agent of", func(d *domain) { d.guest.mute = true })
}

// UnmuteAgent makes it answer again.
func (c *Cluster) UnmuteAgent(vm string) error {
	return c.changeGuest(vm, "unmute the agent of", func(d *domain) { d.guest.mute = false })
}

// StopAgent stops the guest's agent: libvirt sees its channel closed. It is
// back after the next boot.
func (c *Cluster) StopAgent(vm string) error {
	return c.changeGuest(vm, "stop the agent of", func(d *domain) {
		if !d.guest.noAgent && !d.guest.down {
			d.guest.noAgent = true
			d.tellAgent(hypervisor.ReasonAgentDisconnected)
		}
	})
}

// StartAgent starts it again.
func (c *Cluster) StartAgent(vm string) error {
	return c.changeGuest(vm, "start the agent of", func(d *domain) {
		if d.guest.noAgent && !d.guest.down {
			d.guest.noAgent = false
			d.tellAgent(hypervisor.ReasonAgentConnected)
		}
	})
}

// SkewGuestClock puts the guest's clock ahead of time by that much, or behind,
// until its next boot.
func (c *Cluster) SkewGuestClock(vm string, by time.Duration) error {
	return c.changeGuest(vm, "skew the clock of", func(d *domain) { d.guest.skew = by })
}

func (c *Cluster) changeGuest(vm, what string, change func(*domain)) error {
	return c.activeVM(vm, what, func(d *domain) error {
		d.settle(time.Now())
		change(d)
		return nil
	})
}

// tellAgent is silent about a VM that has no agent.
func (d *domain) tellAgent(why hypervisor.Reason) {
	if !d.on.opts.NoAgents {
		d.on.tell(d, hypervisor.EventAgent, why)
	}
}

// openAgent is a guest that has booted, if it has.
func (d *domain) openAgent() {
	if !d.guest.down {
		d.tellAgent(hypervisor.ReasonAgentConnected)
	}
}

// FailDisk fails the VM's disk, for want of space or otherwise: QEMU pauses the
// VM, and again each time that it is let go on, until [Cluster.MendDisk] or
// until it runs on another host.
func (c *Cluster) FailDisk(vm string, noSpace bool) error {
	return c.activeVM(vm, "fail the disk of", func(d *domain) error {
		d.badDisk = &hypervisor.DiskError{Device: diskTarget, NoSpace: noSpace}
		if d.state.Running() {
			d.write()
		}
		return nil
	})
}

// MendDisk makes the VM's disk well again, on every host; a VM that was paused
// for it stays paused.
func (c *Cluster) MendDisk(vm string) error {
	v, err := c.vm(vm)
	if err != nil {
		return err
	}
	for _, m := range c.machines {
		m.mu.Lock()
		if d, ok := m.domains[v.uuid]; ok {
			d.badDisk = nil
		}
		m.mu.Unlock()
	}
	return nil
}

// write is a guest that writes to its disk, which is what any guest does as
// soon as it runs.
func (d *domain) write() {
	if d.badDisk == nil {
		return
	}
	d.seeDiskError(*d.badDisk)
	d.set(hypervisor.StatePaused, hypervisor.ReasonIOError)
	why := hypervisor.ReasonIOError
	if d.badDisk.NoSpace {
		why = reasonNoSpace
	}
	d.on.tellOf(d, hypervisor.Event{Kind: hypervisor.EventIOError, Reason: why, Device: diskTarget})
	d.on.tell(d, hypervisor.EventSuspended, hypervisor.ReasonIOError)
}

// seeDiskError keeps what QEMU keeps: the first one, for as long as it lives.
func (d *domain) seeDiskError(e hypervisor.DiskError) {
	if d.diskError == nil {
		d.diskError = &e
	}
}

// reasonNoSpace is QEMU's word for it.
const reasonNoSpace hypervisor.Reason = "enospc"

// MemoryFailure is a part of the host's memory that failed, of which libvirt
// says who is hit and how, such as "guest (inject)".
func (c *Cluster) MemoryFailure(vm string, how hypervisor.Reason) error {
	return c.activeVM(vm, "fail memory of", func(d *domain) error {
		d.on.tell(d, hypervisor.EventMemory, how)
		return nil
	})
}
