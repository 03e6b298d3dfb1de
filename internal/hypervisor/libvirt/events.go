//go:build cgo

package libvirt

import (
	"fmt"
	"strconv"
	"strings"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// subscription is one of libvirt's kinds of event.
type subscription struct {
	what     string
	register func() (id int, err error)
	// since: the libvirt on the host that first had it, if there are hosts about
	// that do not. Those refuse it, and have to do without.
	since string
}

// watch has lost called, once, when the connection is lost, and tell for every
// event. Both run on the process's event loop, which serves every host, and must
// not wait.
func (l *link) watch(lost func(why string), tell func(hypervisor.Event)) error {
	err := l.conn.RegisterCloseCallback(func(_ *lv.Connect, why lv.ConnectCloseReason) { lost(closeWords[why]) })
	if err != nil && !noSupport(err) {
		return fmt.Errorf("watch the connection: %w", err)
	}
	for _, s := range l.subscriptions(tell) {
		id, err := s.register()
		if noSupport(err) {
			continue
		}
		if err != nil && s.since != "" && l.alive() {
			l.host.log.Info("the host does not report this kind of event", "event", s.what, "since libvirt", s.since, "error", l.host.addr.clean(err.Error()))
			continue
		}
		if err != nil {
			return fmt.Errorf("subscribe to %s events: %w", s.what, err)
		}
		l.callbacks = append(l.callbacks, id)
	}
	return nil
}

func (l *link) subscriptions(tell func(hypervisor.Event)) []subscription {
	// Name and UUID are in the object, so asking for them asks nobody.
	about := func(d *lv.Domain, kind hypervisor.EventKind, why hypervisor.Reason) hypervisor.Event {
		ev := l.host.event(kind, why)
		ev.UUID, _ = d.GetUUIDString()
		ev.Name, _ = d.GetName()
		return ev
	}
	return []subscription{
		{what: "lifecycle", register: func() (int, error) {
			return l.conn.DomainEventLifecycleRegister(nil, func(_ *lv.Connect, d *lv.Domain, ev *lv.DomainEventLifecycle) {
				if words, known := lifecycleWords[ev.Event]; known { // a later libvirt's show in the listing
					tell(about(d, words.kind, at(words.details, ev.Detail)))
				}
			})
		}},
		{what: "reboot", register: func() (int, error) {
			return l.conn.DomainEventRebootRegister(nil, func(_ *lv.Connect, d *lv.Domain) {
				tell(about(d, hypervisor.EventRebooted, ""))
			})
		}},
		{what: "watchdog", register: func() (int, error) {
			return l.conn.DomainEventWatchdogRegister(nil, func(_ *lv.Connect, d *lv.Domain, ev *lv.DomainEventWatchdog) {
				tell(about(d, hypervisor.EventWatchdog, at(watchdogWords, int(ev.Action))))
			})
		}},
		{what: "I/O error", register: func() (int, error) {
			return l.conn.DomainEventIOErrorReasonRegister(nil, func(_ *lv.Connect, d *lv.Domain, ev *lv.DomainEventIOErrorReason) {
				out := about(d, hypervisor.EventIOError, ioErrorWord(ev.Reason))
				out.Device = target(ev.DevAlias)
				tell(out)
			})
		}},
		{what: "guest agent", since: "1.2.11", register: func() (int, error) {
			return l.conn.DomainEventAgentLifecycleRegister(nil, func(_ *lv.Connect, d *lv.Domain, ev *lv.DomainEventAgentLifecycle) {
				tell(about(d, hypervisor.EventAgent, at(agentWords, int(ev.State))))
			})
		}},
		{what: "metadata", since: "3.0.0", register: func() (int, error) {
			return l.conn.DomainEventMetadataChangeRegister(nil, func(_ *lv.Connect, d *lv.Domain, ev *lv.DomainEventMetadataChange) {
				if ev.Type == lv.DOMAIN_METADATA_ELEMENT && ev.NSURI == metadataURI {
					tell(about(d, hypervisor.EventAnnotated, ""))
				}
			})
		}},
		{what: "memory failure", since: "6.9.0", register: func() (int, error) {
			return l.conn.DomainEventMemoryFailureRegister(nil, func(_ *lv.Connect, d *lv.Domain, ev *lv.DomainEventMemoryFailure) {
				tell(about(d, hypervisor.EventMemory, memoryWord(ev)))
			})
		}},
	}
}

// ioErrorWord is QEMU's own word, such as enospc, if it has one.
func ioErrorWord(reason string) hypervisor.Reason {
	if reason == "" {
		return hypervisor.ReasonIOError
	}
	return hypervisor.Reason(reason)
}

// memoryWord says who is hit, how, and whether it must be dealt with at once.
func memoryWord(ev *lv.DomainEventMemoryFailure) hypervisor.Reason {
	word := at(memoryRecipients, int(ev.Recipient)) + " (" + at(memoryActions, int(ev.Action))
	if ev.Flags&lv.DOMAIN_MEMORY_FAILURE_ACTION_REQUIRED != 0 {
		word += ", action required"
	}
	if ev.Flags&lv.DOMAIN_MEMORY_FAILURE_RECURSIVE != 0 {
		word += ", recursive"
	}
	return word + ")"
}

// target is the disk's name in the definition, if its alias tells: libvirt
// numbers the aliases of virtio disks by their targets, virtio-disk0 for vda. It
// is the alias where it does not tell. The event comes on the event loop, where
// nobody can be asked.
func target(alias string) string {
	number, ok := strings.CutPrefix(alias, "virtio-disk")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 0 || n >= mostDevices {
		return alias
	}
	letters := ""
	for n++; n > 0; n = (n - 1) / 26 {
		letters = string(rune('a'+(n-1)%26)) + letters
	}
	return "vd" + letters
}
