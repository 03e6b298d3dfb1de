// Package boot makes what a lab guest boots from: Debian's cloud kernel, taken
// out of its package without installing it, and an initramfs with the virtio
// modules, the witness, and busybox for whatever the guest agent is asked to run.
// Both are kept in a cache, keyed by what they were made from.
package boot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Assets are the two files that a guest boots from.
type Assets struct {
	Kernel string // the package's vmlinuz
	Initrd string // modules, witness and busybox
}

// Prepare returns the assets, made first if the cache lacks them. repo is the
// root of the checkout (the witness is built from it), cache a folder that may
// be shared by any number of labs: files appear in it by rename only.
func Prepare(ctx context.Context, repo, cache string, progress func(string)) (Assets, error) {
	kernel, err := prepareKernel(ctx, cache, progress)
	if err != nil {
		return Assets{}, err
	}
	key, err := sourceKey(repo)
	if err != nil {
		return Assets{}, err
	}
	assets := Assets{Kernel: filepath.Join(kernel, kernelFile), Initrd: filepath.Join(kernel, "initrd-"+key)}
	if _, err := os.Stat(assets.Initrd); err == nil {
		return assets, nil
	}
	progress("building the guest's initramfs")
	work, err := os.MkdirTemp(cache, "tmp-witness-")
	if err != nil {
		return Assets{}, err
	}
	defer os.RemoveAll(work)
	witness := filepath.Join(work, "init")
	if err := buildWitness(ctx, repo, witness); err != nil {
		return Assets{}, err
	}
	tmp := filepath.Join(work, "initrd")
	if err := writeInitrd(tmp, witness, filepath.Join(kernel, busyboxFile), filepath.Join(kernel, modulesDir)); err != nil {
		return Assets{}, err
	}
	return assets, os.Rename(tmp, assets.Initrd)
}

// sources are what the witness is built from, seen from the root of the checkout.
var sources = []string{"go.mod", "test/lab/witness/*", "test/lab/internal/record/*.go", "test/lab/internal/task/*.go"}

// sourceKey changes whenever the witness might.
func sourceKey(repo string) (string, error) {
	sum := sha256.New()
	for _, pattern := range sources {
		files, err := filepath.Glob(filepath.Join(repo, pattern))
		if err != nil {
			return "", err
		}
		if len(files) == 0 {
			return "", fmt.Errorf("%s has no %s: the lab must run in a complete checkout", repo, pattern)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(sum, "%s %d\n%s", filepath.Base(file), len(content), content)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:6]), nil
}

// buildWitness compiles the guest's init: static, for it is all there is in there.
func buildWitness(ctx context.Context, repo, program string) error {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "./test/lab/witness")
	build.Dir = repo
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the guest's witness in %s: %w\n%s", repo, err, out)
	}
	return nil
}
