package boot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	metaPackage = "linux-image-cloud-amd64"
	kernelFile  = "vmlinuz"
	modulesDir  = "modules"

	busyboxPackage = "busybox-static"
	busyboxFile    = "busybox"

	packageLists = "/var/lib/apt/lists" // changes with every apt-get update
)

// wanted are the modules that the witness needs, besides those they depend on.
var wanted = []string{
	"virtio_pci", "virtio_blk", "virtio_balloon", "virtio_net", "virtio_console", // devices
	"pvpanic-mmio",    // tells QEMU that the guest's kernel panicked
	"button", "evdev", // the power button, for an orderly shutdown
}

// prepareKernel returns the cache folder with the kernel, the modules, each named
// so that their order is the order to load them in, and busybox.
func prepareKernel(ctx context.Context, cache string, progress func(string)) (string, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	kept, checked := newestKernel(cache)
	if lists, err := os.Stat(packageLists); kept != "" && err == nil && checked.After(lists.ModTime()) {
		return kept, nil // asking apt takes a second, and it knows nothing new
	}
	pkg, version, err := resolveKernel(ctx)
	if err != nil && kept != "" {
		return kept, nil // this machine knows no kernel any more, but it did
	}
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, kernelDir(pkg, version))
	now := time.Now()
	if err := os.Chtimes(filepath.Join(dir, kernelFile), now, now); err == nil {
		return dir, nil
	}
	progress("fetching " + pkg + " " + version + " and " + busyboxPackage + " (once; they are unpacked, not installed)")
	tmp, err := os.MkdirTemp(cache, "tmp-kernel-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := unpackKernel(ctx, tmp, pkg, version); err != nil {
		return "", err
	}
	made := filepath.Join(tmp, "made")
	if err := os.Rename(made, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err // ErrExist: another lab made the same one meanwhile
	}
	return dir, nil
}

// kernelDir names the folder of a kernel. One that was made with other modules,
// or other programs, has another name.
func kernelDir(pkg, version string) string {
	sum := sha256.Sum256([]byte(strings.Join(append(slices.Clone(wanted), busyboxPackage), " ")))
	return "kernel-" + pkg + "_" + version + "-" + hex.EncodeToString(sum[:4])
}

// resolveKernel finds the real package behind the meta package, and its version.
func resolveKernel(ctx context.Context) (pkg, version string, err error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "show", "--no-all-versions", metaPackage).Output()
	if err != nil {
		return "", "", fmt.Errorf("%s is unknown to apt: run `apt-get update` (or deploy/install-packages.sh), then lab up again: %w", metaPackage, err)
	}
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "Version":
			version = value
		case "Depends":
			// "linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)"
			pkg, _, _ = strings.Cut(value, " ")
		}
	}
	if !strings.HasPrefix(pkg, "linux-image-") || version == "" {
		return "", "", fmt.Errorf("apt-cache show %s names no kernel package; run `apt-get update`, then lab up again", metaPackage)
	}
	return pkg, version, nil
}

// newestKernel is the kernel folder that was made, or found to be the current
// one, last, and when that was; "" if there is none.
func newestKernel(cache string) (dir string, checked time.Time) {
	kernels, _ := filepath.Glob(filepath.Join(cache, kernelDir("*", "*"), kernelFile))
	for _, kernel := range kernels {
		if info, err := os.Stat(kernel); err == nil && info.ModTime().After(checked) {
			dir, checked = filepath.Dir(kernel), info.ModTime()
		}
	}
	return dir, checked
}

// unpack downloads a package, in a version or with "" the newest that apt knows,
// into a new folder in tmp, and returns that with its files.
func unpack(ctx context.Context, tmp, pkg, version string) (root string, err error) {
	dir, err := os.MkdirTemp(tmp, pkg+"-")
	if err != nil {
		return "", err
	}
	wanted := pkg
	if version != "" {
		wanted += "=" + version
	}
	get := exec.CommandContext(ctx, "apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", wanted)
	get.Dir = dir
	if out, err := get.CombinedOutput(); err != nil {
		return "", fmt.Errorf("download %s: %w\n%s\nRun `apt-get update` if the version is gone, then lab up again", wanted, err, out)
	}
	debs, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	if len(debs) != 1 {
		return "", fmt.Errorf("apt-get download %s left %d packages in %s, want 1", wanted, len(debs), dir)
	}
	root = filepath.Join(dir, "root")
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", debs[0], root).CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack %s: %w\n%s", debs[0], err, out)
	}
	return root, nil
}

// unpackKernel leaves what is needed of the packages in tmp/made.
func unpackKernel(ctx context.Context, tmp, pkg, version string) error {
	programs, err := unpack(ctx, tmp, busyboxPackage, "")
	if err != nil {
		return err
	}
	root, err := unpack(ctx, tmp, pkg, version)
	if err != nil {
		return err
	}
	made := filepath.Join(tmp, "made")
	if err := os.MkdirAll(filepath.Join(made, modulesDir), 0o755); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(programs, "bin", "busybox"), filepath.Join(made, busyboxFile)); err != nil {
		return err
	}
	release := strings.TrimPrefix(pkg, "linux-image-")
	kernel, now := filepath.Join(made, kernelFile), time.Now()
	if err := os.Rename(filepath.Join(root, "boot", "vmlinuz-"+release), kernel); err != nil {
		return err
	}
	// Its time is when it was last known to be the newest, not when Debian built it.
	if err := os.Chtimes(kernel, now, now); err != nil {
		return err
	}
	files, err := loadOrder(filepath.Join(root, "lib/modules", release), wanted)
	if err != nil {
		return err
	}
	for i, file := range files {
		name := fmt.Sprintf("%02d-%s", i, filepath.Base(file))
		if err := os.Rename(file, filepath.Join(made, modulesDir, name)); err != nil {
			return err
		}
	}
	return nil
}

// loadOrder returns the files of the modules and of all they depend on, each
// after those it needs. The package has no modules.dep (depmod makes it when a
// kernel is installed), so the order is read from the modules themselves.
func loadOrder(root string, names []string) ([]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if name, is := strings.CutSuffix(filepath.Base(path), ".ko"); is {
			files[moduleName(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var order []string
	var visit func(name string) error
	visit = func(name string) error {
		file, ok := files[moduleName(name)]
		if !ok {
			return nil // built into the kernel, or this kernel has it not; the witness says what it lacks
		}
		if slices.Contains(order, file) {
			return nil
		}
		needs, err := dependencies(file)
		if err != nil {
			return err
		}
		for _, need := range needs {
			if err := visit(need); err != nil {
				return err
			}
		}
		order = append(order, file)
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// moduleName undoes that module names and file names use - and _ at will.
func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// dependencies reads the names in a module's "depends=" field.
func dependencies(file string) ([]string, error) {
	module, err := elf.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read kernel module %s: %w", file, err)
	}
	defer module.Close()
	section := module.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("kernel module %s has no .modinfo section", file)
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if list, is := strings.CutPrefix(string(field), "depends="); is && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}
