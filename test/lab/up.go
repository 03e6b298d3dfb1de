package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"holdfast/test/lab/internal/boot"
)

// guestBoot is how long the guests may take from their start to their first
// acknowledgement: about 3 s on an idle machine, and they share its cores.
const guestBoot = 3 * time.Minute

// cleanup is how long the removal of a lab that failed to come up may take.
const cleanup = time.Minute

// Up builds a lab and returns when it is ready. If it fails, or ctx ends, what
// was built is removed again (unless Options.KeepFailed) and the error says why.
func Up(ctx context.Context, o Options) (*Lab, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	l, err := plan(&o)
	if err != nil {
		return nil, err
	}
	if err := preflight(); err != nil {
		return nil, err
	}
	unlock, err := tryLock(l.info.Dir)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("another lab command works on %s; wait for it, or choose another --name", l.info.Dir)
	}
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := os.Stat(l.file("lab.json")); err == nil {
		return nil, fmt.Errorf("lab %s exists in %s; `lab down --name %s` removes it, or choose another --name", l.info.Name, l.info.Dir, l.info.Name)
	}
	err = l.build(ctx, o)
	if err == nil {
		return l, nil
	}
	if ctx.Err() != nil { // what failed then failed for that
		err = fmt.Errorf("building lab %s was interrupted: %w", l.info.Name, context.Cause(ctx))
	}
	if o.KeepFailed {
		return nil, fmt.Errorf("%w (what there is of it is kept; `lab down --name %s` removes it)", err, l.info.Name)
	}
	downCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
	defer cancel()
	return nil, errors.Join(err, l.remove(downCtx))
}

// plan turns options into the lab they describe, with nothing made yet.
func plan(o *Options) (*Lab, error) {
	if o.Hosts == 0 {
		o.Hosts = 2
	}
	switch o.VMs {
	case 0:
		o.VMs = 2
	case -1:
		o.VMs = 0
	}
	if o.Storage == "" {
		o.Storage = StorageShared
	}
	if o.Hosts < 1 || o.Hosts > MaxHosts {
		return nil, fmt.Errorf("%d hosts: a lab has 1 to %d", o.Hosts, MaxHosts)
	}
	if o.VMs < 0 || o.VMs > MaxVMs {
		return nil, fmt.Errorf("%d VMs: a lab has 0 to %d", o.VMs, MaxVMs)
	}
	if o.Storage != StorageShared && o.Storage != StorageLocal {
		return nil, fmt.Errorf("storage %q: it is %q or %q", o.Storage, StorageShared, StorageLocal)
	}
	l, err := locate(o.Dir, o.Name)
	if err != nil {
		return nil, err
	}
	if l.info.Binary, err = findBinary(o.Binary); err != nil {
		return nil, err
	}
	l.info.Storage, l.info.SmallPool, l.info.Flaky, l.info.BootDisk = o.Storage, o.SmallPool, o.Flaky, o.BootDisk
	l.info.SiteFile = l.file("site.yaml")
	l.info.Created = time.Now().UTC()
	for i := range o.Hosts {
		name := hostName(i)
		l.info.Hosts = append(l.info.Hosts, Host{Name: name, NetNS: hostNetNS(l.id, name), Images: l.imageDir(name)})
	}
	for i := range o.VMs {
		name := vmName(i)
		l.info.VMs = append(l.info.VMs, VM{
			Name: name, UUID: uuid.NewString(), Host: hostName(i % o.Hosts), Disk: filepath.Join(hostImages, name+".qcow2"),
		})
	}
	return l, nil
}

// findBinary finds the lab command.
func findBinary(given string) (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := given
	if path == "" && filepath.Base(exe) == "lab" {
		path = exe
	}
	if path == "" {
		path = os.Getenv("LAB_BINARY")
	}
	if path == "" {
		root, err := repoRoot()
		if err != nil {
			return "", err
		}
		path = filepath.Join(root, "bin", "lab")
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the lab command is not at %s: `make build` builds it (or go build -o bin/lab ./test/lab/cmd/lab)", path)
	}
	return path, nil
}

// preflight says what this machine lacks, all of it at once.
func preflight() error {
	if os.Geteuid() != 0 {
		return errors.New("a lab needs root, for namespaces and mounts: run it with sudo")
	}
	var missing []string
	for _, program := range []string{
		"ip", "nsenter", "ebtables-nft-restore", "unshare", "setsid", "tini", "virtlogd", "libvirtd", "virsh", "qemu-img", "qemu-io", "qemu-system-x86_64", "apt-get", "dpkg-deb", "go",
	} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("this machine lacks %s: run deploy/install-packages.sh (go comes from go.dev or your distribution)", strings.Join(missing, ", "))
	}
	return nil
}

// build makes everything, in an order that lets whatever is written down be
// written before it is made.
func (l *Lab) build(ctx context.Context, o Options) error {
	if err := l.save(); err != nil {
		return err
	}
	if o.Guard {
		if err := l.startGuard(ctx); err != nil {
			return err
		}
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.prepareBoot(groupCtx, o.Progress) })
	group.Go(func() error { return l.buildHosts(groupCtx, o.Progress) })
	if err := group.Wait(); err != nil {
		return err
	}
	if err := l.startSupervisor(ctx); err != nil {
		return err
	}
	group, groupCtx = errgroup.WithContext(ctx)
	for _, host := range l.info.Hosts {
		group.Go(func() error { return l.defineGuests(groupCtx, host, o.Progress) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if !o.NoWaitGuests {
		if err := l.waitGuests(ctx, o.Progress); err != nil {
			return err
		}
	}
	_, cache, err := cacheDir()
	if err != nil {
		return err
	}
	if err := l.keepCapabilities(hostName(0), cache); err != nil {
		return err
	}
	site, err := l.siteFile(o.Power)
	if err != nil {
		return err
	}
	if err := os.WriteFile(l.info.SiteFile, []byte(site), 0o644); err != nil {
		return err
	}
	l.info.Up = true
	return l.save()
}

// prepareBoot puts kernel and initramfs into the lab's folder, where they stay
// even when the cache is cleared.
func (l *Lab) prepareBoot(ctx context.Context, progress func(string)) error {
	root, cache, err := cacheDir()
	if err != nil {
		return err
	}
	assets, err := boot.Prepare(ctx, root, cache, progress)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(l.file("boot"), 0o755); err != nil {
		return err
	}
	for name, from := range map[string]string{"vmlinuz": assets.Kernel, "initrd": assets.Initrd} {
		if err := linkOrCopy(from, l.file("boot", name)); err != nil {
			return err
		}
	}
	return nil
}

// cacheDir is the root of the checkout, and what is kept there between labs.
func cacheDir() (root, cache string, err error) {
	root, err = repoRoot()
	return root, filepath.Join(root, "build", "lab-cache"), err
}

func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}

// buildHosts makes the network and boots the hosts, all at the same time.
func (l *Lab) buildHosts(ctx context.Context, progress func(string)) error {
	_, cache, err := cacheDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(l.file("boot"), 0o755); err != nil {
		return err
	}
	if l.info.SmallPool {
		if err := l.mountSmallPools(); err != nil {
			return err
		}
	}
	if err := l.makeNetwork(ctx); err != nil {
		return err
	}
	// Of all hosts before the first boots: with shared storage it serves them all.
	if err := l.writeFiles(); err != nil {
		return err
	}
	progress("network " + l.info.Subnet)
	group, ctx := errgroup.WithContext(ctx)
	for _, host := range l.info.Hosts {
		group.Go(func() error {
			if err := l.seedCapabilities(host.Name, cache); err != nil {
				return err
			}
			if err := l.connect(ctx, host, false); err != nil {
				return err
			}
			if err := l.bootHost(ctx, host); err != nil {
				return err
			}
			progress("host " + host.Name + " is up at " + host.URI)
			return nil
		})
	}
	return group.Wait()
}
