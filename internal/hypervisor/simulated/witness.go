package simulated

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"maps"
	"path/filepath"
	"strings"
	"time"

	"holdfast/internal/hypervisor"
)

// told is what a VM tells to whoever looks at it, wherever it runs. The VM's
// lock guards it.
type told struct {
	commands map[string]hypervisor.GuestExit
	job      hypervisor.Job // without its Monitor
	jobSince time.Time
	noScreen bool
	noRoom   bool // for a dump of its memory
}

// SetGuestCommand makes a program in the guest end like that, whatever its
// arguments. Without it a guest knows true, false and echo.
func (c *Cluster) SetGuestCommand(vm, program string, exit hypervisor.GuestExit) error {
	return c.tells(vm, func(t *told) {
		if t.commands == nil {
			t.commands = make(map[string]hypervisor.GuestExit)
		}
		t.commands[program] = exit
	})
}

// SetJob says what job is under way on a VM; the zero Job is none. Its Elapsed
// grows by itself.
func (c *Cluster) SetJob(vm string, job hypervisor.Job) error {
	return c.tells(vm, func(t *told) { t.job, t.jobSince = job, time.Now().Add(-job.Elapsed) })
}

// RemoveScreen takes the VM's screen away, or gives it back.
func (c *Cluster) RemoveScreen(vm string, gone bool) error {
	return c.tells(vm, func(t *told) { t.noScreen = gone })
}

// FailDumps leaves no room for a dump of the VM's memory, or makes some.
func (c *Cluster) FailDumps(vm string, fail bool) error {
	return c.tells(vm, func(t *told) { t.noRoom = fail })
}

// Dumps are the files with memory of VMs that a host has, with their sizes in
// bytes, by path.
func (c *Cluster) Dumps(host string) (map[string]uint64, error) {
	var out map[string]uint64
	err := c.onMachine(host, func(m *machine) { out = maps.Clone(m.dumps) })
	return out, err
}

func (c *Cluster) tells(nameOrUUID string, change func(*told)) error {
	v, err := c.vm(nameOrUUID)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	change(&v.told)
	return nil
}

func (v *vm) tell() told {
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.told
	t.commands = maps.Clone(t.commands)
	return t
}

func (h *host) GuestExec(ctx context.Context, uuid string, argv []string) (hypervisor.GuestExit, error) {
	if len(argv) == 0 {
		return hypervisor.GuestExit{}, errors.New("run a command in a guest: there is none")
	}
	return about(ctx, h, uuid, func(d *domain, done func(hypervisor.GuestExit, error)) {
		if err := d.agentSilent(); err != nil {
			done(hypervisor.GuestExit{}, err)
			return
		}
		exit, known := d.vm.tell().run(argv)
		if !known {
			done(exit, fmt.Errorf("run a command in the guest of %s on %s: its agent finds no such program", d.vm.name, h.m.name))
			return
		}
		done(exit, nil)
	})
}

func (t told) run(argv []string) (exit hypervisor.GuestExit, known bool) {
	if exit, known = t.commands[argv[0]]; known {
		return bounded(exit), true
	}
	switch filepath.Base(argv[0]) {
	case "true":
	case "false":
		exit.Code = 1
	case "echo":
		exit.Stdout = []byte(strings.Join(argv[1:], " ") + "\n")
	default:
		return exit, false
	}
	return bounded(exit), true
}

func bounded(e hypervisor.GuestExit) hypervisor.GuestExit {
	for _, out := range []*[]byte{&e.Stdout, &e.Stderr} {
		if len(*out) > hypervisor.MaxGuestOutput {
			*out, e.Truncated = (*out)[:hypervisor.MaxGuestOutput], true
		}
	}
	return e
}

func (h *host) Screenshot(ctx context.Context, uuid string) (hypervisor.Picture, error) {
	return about(ctx, h, uuid, func(d *domain, done func(hypervisor.Picture, error)) {
		d.monitor(func() {
			switch {
			case !d.state.Active():
				done(hypervisor.Picture{}, d.notActive("look at the screen of"))
			case d.vm.tell().noScreen:
				done(hypervisor.Picture{}, fmt.Errorf("look at the screen of %s on %s: it has none: %w", d.vm.name, h.m.name, hypervisor.ErrInvalidState))
			default:
				done(hypervisor.NewPicture("image/x-portable-pixmap", d.screen()))
			}
		})
	})
}

// screen is a text mode screen in the colour of the guest's state, as QEMU gives it.
func (d *domain) screen() []byte {
	shown := color.NRGBA{R: 16, G: 16, B: 16, A: 255}
	if d.state == hypervisor.StateCrashed {
		shown = color.NRGBA{R: 160, A: 255}
	}
	size := image.Pt(720, 400)
	out := fmt.Appendf(nil, "P6\n%d %d\n255\n", size.X, size.Y)
	for range size.X * size.Y {
		out = append(out, shown.R, shown.G, shown.B)
	}
	return out
}

// Job does not ask QEMU, so that one that hangs is what it tells.
func (h *host) Job(ctx context.Context, uuid string) (hypervisor.Job, error) {
	return about(ctx, h, uuid, func(d *domain, done func(hypervisor.Job, error)) {
		if !d.state.Active() {
			done(hypervisor.Job{}, d.notActive("read the job of"))
			return
		}
		if d.hung { // somebody has always asked for its statistics
			// Its counters stand since then.
			done(hypervisor.Job{Monitor: hypervisor.MonitorOccupied, MonitorFor: time.Since(d.counters.at), Error: "QEMU does not answer"}, nil)
			return
		}
		t := d.vm.tell()
		job := t.job
		job.Monitor = hypervisor.MonitorOK
		if job.Doing != "" {
			job.Elapsed = time.Since(t.jobSince)
			job.Monitor, job.MonitorFor = hypervisor.MonitorJob, job.Elapsed
		}
		done(job, nil)
	})
}

// Blocks reads the sizes of a disk that is not in use from its file, as libvirt does.
func (h *host) Blocks(ctx context.Context, uuid string) ([]hypervisor.Block, error) {
	return about(ctx, h, uuid, func(d *domain, done func([]hypervisor.Block, error)) {
		b := hypervisor.Block{
			Device: diskTarget, Kind: "disk", Source: d.image(), Format: "qcow2",
		}
		for _, file := range d.files()[1:] {
			b.Backing = append(b.Backing, hypervisor.Backing{Source: file, Format: "qcow2"})
		}
		if d.hung {
			b.Error = "QEMU does not answer"
		} else {
			allocated := d.vm.allocation.Load()
			b.Capacity, b.Allocation, b.Physical = diskBytes, allocated, allocated
		}
		done([]hypervisor.Block{b}, nil)
	})
}

func (h *host) Dump(ctx context.Context, uuid, path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("dump the memory of domain %s on %s: %q is not the whole path of a file", uuid, h.m.name, path)
	}
	return h.act(ctx, uuid, func(d *domain, done func(error)) {
		d.monitor(func() {
			switch {
			case !d.state.Active():
				done(d.notActive("dump the memory of"))
			case d.vm.tell().noRoom:
				done(fmt.Errorf("dump the memory of %s on %s: no space left on device: %w", d.vm.name, h.m.name, hypervisor.ErrNoResource))
			default:
				if h.m.dumps == nil {
					h.m.dumps = make(map[string]uint64)
				}
				h.m.dumps[path] = memoryBytes / 4
				done(nil)
			}
		})
	})
}
