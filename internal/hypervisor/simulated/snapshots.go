package simulated

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"holdfast/internal/hypervisor"
)

// content is what is on a VM's disk, as far as anybody can tell. The VM's lock
// guards it, for all hosts see the same disk.
type content struct {
	mark    byte
	corrupt bool // no guest boots from it
}

// snapshot is one as the host knows it: another that has the VM knows nothing of
// it. The machine's lock guards it.
type snapshot struct {
	hypervisor.Snapshot
	kept  content
	guest guest  // as it was, if there is memory
	file  string // the image with what was kept
	layer string // the one that was made upon it
	// The definition of an internal one goes back with it, but for our own element.
	chain []string
}

// CorruptDisk spoils what is on the VM's disk: its guest, if it runs, runs on, and
// does not get up the next time that it boots. Then its domain is running and its
// agent silent, until a snapshot from before is reverted to.
func (c *Cluster) CorruptDisk(vm string) error {
	return c.onDisk(vm, func(on *content) { on.corrupt = true })
}

// MarkDisk writes a mark to the VM's disk, where its guest leaves it alone.
func (c *Cluster) MarkDisk(vm string, mark byte) error {
	return c.onDisk(vm, func(on *content) { on.mark = mark })
}

// DiskMark reads the mark, which is 0 until there is one.
func (c *Cluster) DiskMark(vm string) (mark byte, err error) {
	err = c.onDisk(vm, func(on *content) { mark = on.mark })
	return mark, err
}

// DiskCorrupt says whether a guest could boot from the VM's disk.
func (c *Cluster) DiskCorrupt(vm string) (corrupt bool, err error) {
	err = c.onDisk(vm, func(on *content) { corrupt = on.corrupt })
	return corrupt, err
}

func (c *Cluster) onDisk(nameOrUUID string, do func(*content)) error {
	return c.ofVM(nameOrUUID, func(v *vm) { do(&v.disk) })
}

// FailSnapshots makes the next n snapshots of the VM fail, for want of room; a
// negative n is all of them, 0 none.
func (c *Cluster) FailSnapshots(nameOrUUID string, n int) error {
	return c.ofVM(nameOrUUID, func(v *vm) { v.failSnapshots = n })
}

// FailReverts makes the next n reverts of the VM fail, for want of room; a
// negative n is all of them, 0 none.
func (c *Cluster) FailReverts(nameOrUUID string, n int) error {
	return c.ofVM(nameOrUUID, func(v *vm) { v.failReverts = n })
}

func (c *Cluster) ofVM(nameOrUUID string, change func(*vm)) error {
	v, err := c.vm(nameOrUUID)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	change(v)
	return nil
}

// takeFailure says whether what is about to be done must fail.
func (v *vm) takeFailure(left *int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if *left > 0 {
		*left--
		return true
	}
	return *left < 0
}

func (v *vm) onDisk() content {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.disk
}

func (h *host) Snapshots(ctx context.Context, uuid string) ([]hypervisor.Snapshot, error) {
	return about(ctx, h, uuid, func(d *domain, done func([]hypervisor.Snapshot, error)) {
		out := make([]hypervisor.Snapshot, 0, len(d.snapshots))
		for _, s := range d.snapshots {
			out = append(out, d.described(s))
		}
		done(out, nil)
	})
}

func (d *domain) described(s *snapshot) hypervisor.Snapshot {
	out := s.Snapshot
	out.Disks = slices.Clone(s.Disks)
	out.Current = s == d.onSnapshot
	return out
}

func (h *host) CreateSnapshot(ctx context.Context, uuid string, o hypervisor.SnapshotOptions) (hypervisor.Snapshot, error) {
	if o.Name == "" || strings.HasPrefix(o.Name, ".") || strings.Contains(o.Name, "/") {
		return hypervisor.Snapshot{}, fmt.Errorf("snapshot domain %s on %s: %q cannot be the name of a snapshot", uuid, h.m.name, o.Name)
	}
	return about(ctx, h, uuid, func(d *domain, done func(hypervisor.Snapshot, error)) {
		d.monitor(func() {
			s, err := d.createSnapshot(o)
			if err != nil {
				done(hypervisor.Snapshot{}, fmt.Errorf("make snapshot %q of %s on %s: %w", o.Name, d.vm.name, h.m.name, err))
				return
			}
			done(d.described(s), nil)
		})
	})
}

func (d *domain) createSnapshot(o hypervisor.SnapshotOptions) (*snapshot, error) {
	active := d.state.Active()
	switch {
	case d.findSnapshot(o.Name) != nil:
		return nil, fmt.Errorf("there is one of that name: %w", hypervisor.ErrExists)
	case d.transient:
		return nil, fmt.Errorf("it is transient, and its snapshots would be forgotten with it: %w", hypervisor.ErrInvalidState)
	case o.Memory && !active:
		return nil, fmt.Errorf("it has no memory to keep: %w", hypervisor.ErrNotActive)
	case o.Memory && o.External:
		return nil, fmt.Errorf("memory is kept inside of the images, and layers have none: %w", hypervisor.ErrInvalidState)
	}
	if o.Quiesce && active && !o.Memory {
		if err := d.agentSilent(); err != nil {
			return nil, fmt.Errorf("its file systems were not frozen: %w: %w", err, hypervisor.ErrNoAgent)
		}
	}
	if d.vm.takeFailure(&d.vm.failSnapshots) {
		return nil, fmt.Errorf("no space left on device: %w", hypervisor.ErrNoResource)
	}
	s := &snapshot{
		Snapshot: hypervisor.Snapshot{
			Name: o.Name, Description: o.Description, Created: time.Now().Truncate(time.Second),
			Memory: o.Memory, External: active && !o.Memory || o.External,
			State: hypervisor.StateShutoff, Disks: []string{diskTarget},
		},
		kept: d.vm.onDisk(), file: d.image(), chain: d.files(),
	}
	if d.onSnapshot != nil {
		s.Parent = d.onSnapshot.Name
	}
	if s.External {
		s.layer = layerFile(s.file, s.Name)
		d.layAnew(append([]string{s.layer}, s.chain...))
		d.vm.layUpon(s.file, disk{content: s.kept, chain: s.chain})
	}
	if s.Memory {
		d.keepMemory(s)
	}
	d.snapshots = append(d.snapshots, s)
	d.onSnapshot = s
	return s, nil
}

// keepMemory stops the guest for the moment, if it runs, as libvirt does.
func (d *domain) keepMemory(s *snapshot) {
	s.guest, s.State = d.guest, hypervisor.StatePaused
	if !d.state.Running() {
		return
	}
	s.State = hypervisor.StateRunning
	d.on.tell(d, hypervisor.EventSuspended, hypervisor.ReasonUser)
	d.set(hypervisor.StateRunning, reasonUnpaused)
	d.on.tell(d, hypervisor.EventResumed, reasonUnpaused)
}

func (h *host) RevertSnapshot(ctx context.Context, uuid, name string) error {
	return h.act(ctx, uuid, func(d *domain, done func(error)) {
		if err := d.revertSnapshot(name); err != nil {
			done(fmt.Errorf("revert %s on %s to snapshot %q: %w", d.vm.name, h.m.name, name, err))
			return
		}
		done(nil)
	})
}

func (d *domain) revertSnapshot(name string) error {
	s := d.findSnapshot(name)
	switch {
	case s == nil:
		return hypervisor.ErrNoSnapshot
	case d.state.Active():
		return fmt.Errorf("it is %s: %w", d.state, hypervisor.ErrAlreadyActive)
	case s.External && s.file == d.image():
		return fmt.Errorf("the domain itself writes to its file: %w", hypervisor.ErrInvalidState)
	}
	if other := d.builtUpon(s); other != "" {
		return fmt.Errorf("snapshot %q is built upon the file that it is in: %w", other, hypervisor.ErrInvalidState)
	}
	if d.vm.takeFailure(&d.vm.failReverts) {
		return fmt.Errorf("no space left on device: %w", hypervisor.ErrNoResource)
	}
	d.vm.mu.Lock()
	d.vm.disk = s.kept
	if s.External {
		d.vm.stored.layers++
	}
	layers := d.vm.stored.layers
	d.vm.mu.Unlock()
	d.vm.forgetChanges(fmt.Sprintf("the disk was put back to snapshot %q", s.Name))
	d.onSnapshot = s
	if s.External {
		layer := layerFile(s.file, fmt.Sprintf("%s-%d", s.Name, layers))
		d.layAnew(append([]string{layer}, s.chain...))
		d.on.tell(d, hypervisor.EventDefined, "updated")
		return nil
	}
	d.layAnew(slices.Clone(s.chain))
	if s.Memory {
		d.goOn(s)
		return nil
	}
	d.on.tell(d, hypervisor.EventDefined, hypervisor.ReasonFromSnapshot)
	return nil
}

// goOn is another QEMU, in which the guest of the snapshot goes on.
func (d *domain) goOn(s *snapshot) {
	d.life++
	d.set(s.State, hypervisor.ReasonFromSnapshot)
	d.counters = counters{at: time.Now()}
	d.guest, d.diskError = s.guest, nil
	d.vm.activated(d.on.name)
	d.tellAgent(hypervisor.ReasonAgentDisconnected)
	d.on.tell(d, hypervisor.EventStarted, hypervisor.ReasonFromSnapshot)
	then := hypervisor.EventResumed
	if s.State == hypervisor.StatePaused {
		then = hypervisor.EventSuspended
	}
	d.on.tell(d, then, hypervisor.ReasonFromSnapshot)
	d.on.tell(d, hypervisor.EventDefined, hypervisor.ReasonFromSnapshot)
	if !d.guest.noAgent {
		d.openAgent()
	}
	if s.State.Running() {
		d.write()
	}
}

func (h *host) DeleteSnapshot(ctx context.Context, uuid, name string) error {
	return h.act(ctx, uuid, func(d *domain, done func(error)) {
		d.monitor(func() {
			if err := d.deleteSnapshot(name); err != nil {
				done(fmt.Errorf("delete snapshot %q of %s on %s: %w", name, d.vm.name, h.m.name, err))
				return
			}
			done(nil)
		})
	})
}

func (d *domain) deleteSnapshot(name string) error {
	s := d.findSnapshot(name)
	if s == nil {
		return d.dropShelved(name)
	}
	active, inUse := d.state.Active(), slices.Contains(d.files(), s.layer)
	switch at := slices.Index(d.files(), s.file); {
	case !s.External && active && at > 0:
		return fmt.Errorf("it is in a file upon which the domain runs: stop it first: %w", hypervisor.ErrInvalidState)
	case s.External && !active:
		return fmt.Errorf("its layer can only be merged while the domain runs: start it first: %w", hypervisor.ErrInvalidState)
	case s.External && inUse:
		if other := d.takenAway(s); other != "" {
			return fmt.Errorf("the state of snapshot %q would be lost with it: delete that one first: %w", other, hypervisor.ErrInvalidState)
		}
		if parent := d.findSnapshot(s.Parent); parent != nil && !parent.External {
			return fmt.Errorf("the one before it, %q, is internal: stop the domain and delete that first: %w", parent.Name, hypervisor.ErrInvalidState)
		}
		d.merge(s)
	}
	d.snapshots = slices.DeleteFunc(d.snapshots, func(other *snapshot) bool { return other == s })
	for _, other := range d.snapshots {
		if other.Parent == s.Name {
			other.Parent = s.Parent
		}
	}
	if d.onSnapshot == s {
		d.onSnapshot = d.findSnapshot(s.Parent)
	}
	return nil
}

// merge takes the layer of a snapshot out of every chain; what was in it is in
// the file below.
func (d *domain) merge(s *snapshot) {
	without := func(files []string) []string {
		return slices.DeleteFunc(slices.Clone(files), func(f string) bool { return f == s.layer })
	}
	d.layAnew(without(d.files()))
	d.vm.mu.Lock()
	delete(d.vm.stored.chains, s.layer)
	for file, chain := range d.vm.stored.chains {
		d.vm.stored.chains[file] = without(chain)
	}
	d.vm.mu.Unlock()
	for _, other := range d.snapshots {
		other.chain = without(other.chain)
		if other.file == s.layer {
			other.file = s.file
		}
	}
}

// builtUpon names a snapshot whose state would change if that of an internal one
// were put back into its file, or is empty.
func (d *domain) builtUpon(s *snapshot) string {
	for _, other := range d.snapshots {
		if other != s && !s.External && (other.External && other.file == s.file || slices.Contains(other.chain[1:], s.file)) {
			return other.Name
		}
	}
	return ""
}

// takenAway names a snapshot whose state would be lost if the layer of an
// external one were merged into what it lies upon, or is empty.
func (d *domain) takenAway(s *snapshot) string {
	for _, other := range d.snapshots {
		sameLine := slices.Contains(d.files(), other.layer) || !other.External && slices.Contains(d.files(), other.file)
		switch {
		case other == s:
		case !other.External && other.file == s.layer,
			!sameLine && (slices.Contains(other.chain, s.layer) || slices.Contains(other.chain, s.file)):
			return other.Name
		}
	}
	return ""
}

func (d *domain) findSnapshot(name string) *snapshot {
	i := slices.IndexFunc(d.snapshots, func(s *snapshot) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return d.snapshots[i]
}

// files are those of the disk, the one that is written to first.
func (d *domain) files() []string {
	if len(d.chain) == 0 {
		return []string{poolTarget + "/" + d.vm.name + ".qcow2"}
	}
	return d.chain
}

// image is the file that the disk is written to.
func (d *domain) image() string { return d.files()[0] }

// layerFile is what libvirt calls it.
func layerFile(file, name string) string {
	return strings.TrimSuffix(file, path.Ext(file)) + "." + strings.ReplaceAll(name, ".", "-")
}
