// Command demo shows Holdfast on real hosts, on one machine: hosts A and B, VM1
// on A and VM2 on B. It kills VM1's QEMU and prints, to the millisecond, how it
// came to run again. All of it goes on running, to be looked at, until
// `demo down`.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/test/lab"
)

const usage = "usage: demo up|down (or `make demo`, `make demo-down`), in the top folder of a checkout of Holdfast"

func main() { os.Exit(run(os.Args[1:])) }

// run returns the exit code.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	d := demo{print: newPrinter(os.Stdout)}
	if err := d.run(ctx, args); err != nil {
		d.print.failure(err)
		return 1
	}
	return 0
}

// demo is the one demo that a checkout can have up.
type demo struct {
	print printer
	root  string // top folder of the checkout
	lab   *lab.Lab
	vm    lab.VM   // the one that is killed
	host  lab.Host // where it is
	dev   dev
}

func (d *demo) run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New(usage)
	}
	var err error
	if d.root, err = checkout(); err != nil {
		return err
	}
	switch args[0] {
	case "up":
		err := d.up(ctx)
		if err != nil && ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		if err != nil {
			return fmt.Errorf("%w\n`make demo-down` removes what there is of the demo; Holdfast's log is %s", err, d.logFile())
		}
		return nil
	case "down":
		removed, err := d.down(ctx)
		if err == nil {
			d.print.line("%s", removed)
		}
		return err
	}
	return errors.New(usage)
}

// checkout is the current folder, if it is the top folder of a checkout.
func checkout() (string, error) {
	mod, err := os.ReadFile("go.mod")
	if err != nil || !strings.HasPrefix(string(mod), "module holdfast\n") {
		return "", errors.New(usage)
	}
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(here)
}

// labName is the name of the demo's lab.
const labName = "demo"

func (d *demo) folder() string     { return filepath.Join(d.root, "build", "demo") }
func (d *demo) logFile() string    { return filepath.Join(d.folder(), "holdfast.log") }
func (d *demo) dataFolder() string { return filepath.Join(d.folder(), "data") }
func (d *demo) stateFile() string  { return filepath.Join(d.folder(), "demo.json") }

func (d *demo) binary(name string) string { return filepath.Join(d.root, "bin", name) }
