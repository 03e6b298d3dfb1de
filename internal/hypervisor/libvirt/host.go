//go:build cgo

package libvirt

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/broadcast"
)

// Host drives one host. Make it with New.
type Host struct {
	opts Options
	addr address
	log  *slog.Logger
	hub  broadcast.Hub

	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	keeper   sync.Once
	mu       sync.Mutex
	closed   bool
	current  *session // nil: none
	attempt  *attempt // nil: none under way
	dialing  int      // calls of libvirt's connect under way, given-up ones included
	failures int      // attempts in a row that failed, a lost connection included
	lastErr  error
	nextTry  time.Time
	changed  chan struct{} // closed and replaced when current changes

	questions map[string]*question // to guest agents, by UUID
	// stopped are the storage pools that a failed refresh of ours stopped, by UUID.
	stopped map[string]bool
	// folders are those of backups that are used through a storage pool of ours,
	// with how often.
	folders map[string]int
	// turns are the domains of which a backup is made, or that are restored.
	turns map[string]chan struct{}
}

var _ hypervisor.Host = (*Host)(nil)

// New returns the host. It does not connect: the first call or subscription does.
func New(opts Options) (hypervisor.Host, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := startLibrary(); err != nil {
		return nil, err
	}
	h := &Host{
		opts: opts, addr: parseAddress(opts.URI),
		log:     opts.Logger.With("host", opts.Name),
		changed: make(chan struct{}), stopped: make(map[string]bool),
		questions: make(map[string]*question), folders: make(map[string]int),
		turns: make(map[string]chan struct{}),
	}
	h.hub.Buffer = opts.EventBuffer
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h, nil
}

// Name implements [hypervisor.Host].
func (h *Host) Name() string { return h.opts.Name }

// Connect implements [hypervisor.Host]. It waits for an attempt that is under
// way, even if the host is known to be down, but does not hasten the next one.
func (h *Host) Connect(ctx context.Context) error {
	bctx, cancel := h.bounded(ctx)
	defer cancel()
	if bctx.Err() != nil {
		return h.ended(bctx, "connect")
	}
	if _, err := h.session(bctx, true); err != nil {
		return err
	}
	_, err := call(bctx, h, "connect", func(l *link) (uint32, error) { return l.conn.GetLibVersion() })
	return err
}

// Domains implements [hypervisor.Host], in three round trips however many
// domains there are. The domain whose QEMU hangs does not delay it, except
// while it is being destroyed: libvirt then waits 10 s for it to go, and holds
// what a listing needs.
func (h *Host) Domains(ctx context.Context) ([]hypervisor.Domain, error) {
	return call(ctx, h, "list domains", func(l *link) ([]hypervisor.Domain, error) {
		records, err := allDomainStats(l.raw, lv.DOMAIN_STATS_STATE, 0)
		if err != nil {
			return nil, err
		}
		transient, err := l.uuids(lv.CONNECT_LIST_DOMAINS_TRANSIENT)
		if err != nil {
			return nil, err
		}
		saved, err := l.uuids(lv.CONNECT_LIST_DOMAINS_MANAGEDSAVE)
		if err != nil {
			return nil, err
		}
		domains := make([]hypervisor.Domain, 0, len(records))
		for _, r := range records {
			if onTrial(r.Name) {
				continue
			}
			d := hypervisor.Domain{UUID: r.UUID, Name: r.Name, Persistent: !transient[r.UUID], ManagedSave: saved[r.UUID]}
			d.State, d.Reason = r.state()
			domains = append(domains, d)
		}
		return domains, nil
	})
}

// uuids are those of the domains that the flags select.
func (l *link) uuids(flags lv.ConnectListAllDomainsFlags) (map[string]bool, error) {
	domains, err := l.conn.ListAllDomains(flags)
	if err != nil {
		return nil, err
	}
	set := make(map[string]bool, len(domains))
	for i := range domains {
		if uuid, uerr := domains[i].GetUUIDString(); uerr != nil {
			err = uerr
		} else {
			set[uuid] = true
		}
		_ = domains[i].Free()
	}
	return set, err
}

// Domain implements [hypervisor.Host].
func (h *Host) Domain(ctx context.Context, uuid string) (hypervisor.Domain, error) {
	return domain(ctx, h, "look up domain", uuid, func(d *lv.Domain) (hypervisor.Domain, error) {
		out := hypervisor.Domain{UUID: uuid}
		state, reason, err := d.GetState()
		if err != nil {
			return out, err
		}
		out.State, out.Reason = stateAndReason(state, reason)
		if out.Name, err = d.GetName(); err != nil {
			return out, err
		}
		if out.Persistent, err = d.IsPersistent(); err != nil || !out.Persistent || out.State.Active() {
			return out, err
		}
		out.ManagedSave, err = d.HasManagedSaveImage(0)
		return out, err
	})
}

// Definition implements [hypervisor.Host]. It is complete, passwords included:
// a host that was given it without them would open the domain's console to all.
func (h *Host) Definition(ctx context.Context, uuid string) (string, error) {
	return domain(ctx, h, "read definition of domain", uuid, func(d *lv.Domain) (string, error) {
		persistent, err := d.IsPersistent()
		if err != nil {
			return "", err
		}
		flags := lv.DOMAIN_XML_SECURE
		if persistent {
			flags |= lv.DOMAIN_XML_INACTIVE
		}
		return d.GetXMLDesc(flags)
	})
}

// Start implements [hypervisor.Host]. A domain with a managed save image goes
// on where it was saved.
func (h *Host) Start(ctx context.Context, uuid string) error {
	return h.act(ctx, "start domain", uuid, func(d *lv.Domain) error {
		return judge(d, d.Create(), active)
	})
}

// Destroy implements [hypervisor.Host]. libvirt takes 10 s for a QEMU that
// hangs.
func (h *Host) Destroy(ctx context.Context, uuid string) error {
	return h.act(ctx, "destroy domain", uuid, func(d *lv.Domain) error {
		return judge(d, d.Destroy(), inactive)
	})
}

// Reset implements [hypervisor.Host].
func (h *Host) Reset(ctx context.Context, uuid string) error {
	return h.act(ctx, "reset domain", uuid, func(d *lv.Domain) error {
		return judge(d, d.Reset(0), inactive)
	})
}

// Resume implements [hypervisor.Host]. libvirt would resume a crashed domain,
// too, which is no resume in the sense of the interface: so the state is looked
// at first.
func (h *Host) Resume(ctx context.Context, uuid string) error {
	return h.act(ctx, "resume domain", uuid, func(d *lv.Domain) error {
		number, reason, err := d.GetState()
		if err != nil {
			return err
		}
		switch state, _ := stateAndReason(number, reason); {
		case !state.Active():
			return fmt.Errorf("it is %s: %w: %w", state, hypervisor.ErrNotActive, hypervisor.ErrInvalidState)
		case state != hypervisor.StatePaused:
			return fmt.Errorf("it is %s: %w", state, hypervisor.ErrInvalidState)
		}
		return d.Resume()
	})
}

func (h *Host) act(ctx context.Context, doing, uuid string, do func(*lv.Domain) error) error {
	_, err := domain(ctx, h, doing, uuid, func(d *lv.Domain) (struct{}, error) { return struct{}{}, do(d) })
	return err
}

// judge finds the sentinel for an operation that the domain's state may have
// forbidden by looking at that state: libvirt's words for it are translated, and
// its drivers do not agree on a code.
func judge(d *lv.Domain, err error, sentinel func(hypervisor.State) error) error {
	if !hasCode(err, lv.ERR_OPERATION_INVALID) && !hasCode(err, lv.ERR_INTERNAL_ERROR) {
		return err
	}
	number, reason, serr := d.GetState()
	if serr != nil {
		return err
	}
	state, _ := stateAndReason(number, reason)
	if s := sentinel(state); s != nil {
		return fmt.Errorf("it is %s: %w", state, s)
	}
	return err
}

func active(s hypervisor.State) error {
	if s.Active() {
		return hypervisor.ErrAlreadyActive
	}
	return nil
}

func inactive(s hypervisor.State) error {
	if !s.Active() {
		return hypervisor.ErrNotActive
	}
	return nil
}

// Events implements [hypervisor.Host]. From the first subscription on the
// connection is held up until Close.
func (h *Host) Events(ctx context.Context) (<-chan hypervisor.Event, error) {
	if h.ctx.Err() != nil {
		return nil, h.errClosed()
	}
	events, err := h.hub.Subscribe(ctx)
	if err != nil {
		return nil, err
	}
	h.keeper.Do(func() { go h.keep() })
	return events, nil
}

// Close implements [hypervisor.Host]. Connections are closed behind it.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	h.cancel()
	h.hub.Close()
	if h.current != nil {
		h.current.end()
		h.current = nil
	}
	return nil
}

// publish hands on what came in session s, unless s is over, or it is about a
// domain on trial.
func (h *Host) publish(s *session, ev hypervisor.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current == s && !onTrial(ev.Name) {
		h.hub.Publish(ev)
	}
}

func (h *Host) event(kind hypervisor.EventKind, why hypervisor.Reason) hypervisor.Event {
	return hypervisor.Event{Host: h.opts.Name, Kind: kind, Reason: why, At: time.Now()}
}

func (h *Host) errClosed() error {
	return fmt.Errorf("host %s: %w", h.opts.Name, hypervisor.ErrClosed)
}
