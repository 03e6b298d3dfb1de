//go:build lab

package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"holdfast/activities"
	"holdfast/internal/config"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/libvirt"
	"holdfast/starter"
	"holdfast/worker"
)

const (
	crashPointEnv = "HOLDFAST_E2E_CRASH_POINT"
	crashSiteEnv  = "HOLDFAST_E2E_CRASH_SITE"
	gateEnv       = "HOLDFAST_E2E_GATE"
)

// Points at which the worker of crashWorker kills itself with SIGKILL.
const (
	beforeInspect = "before the first look"
	beforeStart   = "before the start"
	afterStart    = "after the start, before it is recorded"
	duringVerify  = "during verify"
	// duringVerifyOf is the same of a VM that was not started.
	duringVerifyOf = "during verify, started by nobody"
	// atGate does not kill: the start waits until the file of gateEnv is gone.
	atGate = "at the gate"
)

// crashWorker is the real worker on real hosts, whose hosts are wrapped so that
// the process dies at one exact point.
func crashWorker(point, siteFile string) error {
	site, err := config.Load(siteFile)
	if err != nil {
		return err
	}
	var hosts []hypervisor.Host
	for _, h := range site.Hosts {
		host, err := libvirt.New(libvirt.Options{Name: h.Name, URI: h.URI, Logger: slog.Default()})
		if err != nil {
			return err
		}
		hosts = append(hosts, &crashHost{Host: host, point: point})
	}
	set, err := hypervisor.NewSite(hosts...)
	if err != nil {
		return err
	}
	defer set.Close()
	acts, err := activities.New(activities.Options{Site: site.Name, Hosts: set, Policy: site.Recovery.Policy(), PolicyFor: site.PolicyFor, BackupsTo: site.BackupsTo, CallTimeout: site.Monitor.CallTimeout})
	if err != nil {
		return err
	}
	c, err := starter.Dial(starter.DialOptions{Identity: "crash-worker"})
	if err != nil {
		return err
	}
	defer c.Close()
	w, err := worker.New(worker.Options{Client: c, Site: site.Name, Activities: acts})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return w.Run(ctx)
}

// crashHost dies at its point.
type crashHost struct {
	hypervisor.Host
	point      string
	afterStart atomic.Int32 // looks since a start took
	started    atomic.Bool
	pressed    atomic.Bool // a VM that was not started was made to run
}

func (h *crashHost) die(at string) {
	if h.point == at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // nothing of this process goes on
	}
}

func (h *crashHost) Domain(ctx context.Context, uuid string) (hypervisor.Domain, error) {
	h.die(beforeInspect)
	if h.started.Load() && h.afterStart.Add(1) > 2 {
		// The first look belongs to the start itself, the second begins the verification.
		h.die(duringVerify)
	}
	if h.pressed.Load() && h.afterStart.Add(1) > 2 {
		h.die(duringVerifyOf)
	}
	return h.Host.Domain(ctx, uuid)
}

func (h *crashHost) Start(ctx context.Context, uuid string) error {
	h.die(beforeStart)
	if h.point == atGate {
		if err := awaitGate(ctx); err != nil {
			return err
		}
	}
	if err := h.Host.Start(ctx, uuid); err != nil {
		return err
	}
	h.started.Store(true)
	h.die(afterStart)
	return nil
}

// around dies before or after something is done to a VM.
func (h *crashHost) around(what string, do func() error) error {
	h.die("before " + what)
	if err := do(); err != nil {
		return err
	}
	h.die("after " + what)
	return nil
}

func (h *crashHost) Destroy(ctx context.Context, uuid string) error {
	return h.around("destroy", func() error { return h.Host.Destroy(ctx, uuid) })
}

func (h *crashHost) Reset(ctx context.Context, uuid string) error {
	return h.around("reset", func() error { return h.Host.Reset(ctx, uuid) })
}

func (h *crashHost) Resume(ctx context.Context, uuid string) error {
	err := h.around("resume", func() error { return h.Host.Resume(ctx, uuid) })
	h.pressed.Store(err == nil)
	return err
}

func (h *crashHost) CreateSnapshot(ctx context.Context, uuid string, o hypervisor.SnapshotOptions) (made hypervisor.Snapshot, err error) {
	err = h.around("snapshot", func() error {
		made, err = h.Host.CreateSnapshot(ctx, uuid, o)
		return err
	})
	return made, err
}

func (h *crashHost) RevertSnapshot(ctx context.Context, uuid, name string) error {
	return h.around("revert", func() error { return h.Host.RevertSnapshot(ctx, uuid, name) })
}

func (h *crashHost) RestoreBackup(ctx context.Context, uuid string, o hypervisor.RestoreOptions) error {
	return h.around("restore", func() error { return h.Host.RestoreBackup(ctx, uuid, o) })
}

func (h *crashHost) Define(ctx context.Context, definition string) error {
	return h.around("define", func() error { return h.Host.Define(ctx, definition) })
}

func (h *crashHost) Undefine(ctx context.Context, uuid string) error {
	return h.around("undefine", func() error { return h.Host.Undefine(ctx, uuid) })
}

// awaitGate says that the start has come, and holds it until the test opens the gate.
func awaitGate(ctx context.Context) error {
	gate := os.Getenv(gateEnv)
	if err := os.WriteFile(gate+".reached", nil, 0o644); err != nil {
		return err
	}
	for {
		if _, err := os.Stat(gate); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("at the gate: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
