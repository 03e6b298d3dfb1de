// Command runall runs everything that must hold before a change is kept: the
// linter, the check for deterministic workflows, the client without cgo, the
// unit tests under the race detector, and the tests against real hosts.
//
//	runall [-only stage,...] [-run regexp] [-deadline duration]
//
// It counts checks and tests (see [tally]) and ends with one line
// "N passed, N failed". Nothing is skipped: a test that skips itself, a package
// that does not build and a stage that was not reached all count as failed. On
// SIGINT, SIGTERM or the deadline the running stage is interrupted and waited
// for, so that tests can take down what they built.
//
// Each run writes the events of its tests to a directory of its own under
// build/test, so that two runs do not meet.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	os.Exit(mainExit())
}

// mainExit returns 0 if all passed, 1 if something failed, 2 if nothing could be run.
func mainExit() int {
	only := flag.String("only", "", "comma-separated `stages` to run: "+strings.Join(stageNames(), ", "))
	run := flag.String("run", "", "run only the tests that match this `regexp`; leaves out the stages without tests")
	deadline := flag.Duration("deadline", 65*time.Minute, "interrupt what still runs after this time")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, *deadline, fmt.Errorf("the deadline of %s has passed", *deadline))
	defer cancel()

	total, err := runAll(ctx, *only, *run)
	if err != nil {
		fmt.Fprintln(os.Stderr, "runall:", err)
		return 2
	}
	for _, f := range total.failures {
		fmt.Println("failed:", f)
	}
	fmt.Printf("%d passed, %d failed\n", total.passed, len(total.failures))
	if len(total.failures) > 0 {
		return 1
	}
	return 0
}

// runAll runs the selected stages in order, one after the other, and adds up
// what they counted. A failed stage does not keep the next one from running.
func runAll(ctx context.Context, only, run string) (result, error) {
	selected, err := selectStages(only, run)
	if err != nil {
		return result{}, err
	}
	dir, err := runDir(filepath.Join("build", "test"))
	if err != nil {
		return result{}, err
	}
	var total result
	for _, s := range selected {
		if ctx.Err() != nil {
			total.fail(s.name, "", "not run: "+context.Cause(ctx).Error())
			continue
		}
		fmt.Printf("== %s: %s\n", s.name, s.what)
		begun := time.Now()
		got := s.run(ctx, stageInput{name: s.name, dir: dir, filter: run})
		verdict := "ok"
		if len(got.failures) > 0 {
			verdict = "FAIL"
		}
		fmt.Printf("-- %s %s: %d of %d in %s\n\n", s.name, verdict,
			got.passed, got.passed+len(got.failures), time.Since(begun).Round(100*time.Millisecond))
		total.add(got)
	}
	fmt.Println("events of every test:", dir)
	return total, nil
}

// selectStages returns the stages to run, in their order.
func selectStages(only, run string) ([]stage, error) {
	wanted := strings.Split(only, ",")
	for _, name := range wanted {
		if only != "" && !slices.Contains(stageNames(), name) {
			return nil, fmt.Errorf("no stage is called %q: choose from %s", name, strings.Join(stageNames(), ", "))
		}
	}
	var selected []stage
	for _, s := range stages {
		if only != "" && !slices.Contains(wanted, s.name) || run != "" && !s.tests {
			continue
		}
		selected = append(selected, s)
	}
	if len(selected) == 0 {
		return nil, errors.New("-only and -run together leave no stage: -run is for unit and lab")
	}
	return selected, nil
}

// runDir makes a directory for this run's logs that no other run uses.
func runDir(parent string) (string, error) {
	if _, err := os.Stat("go.mod"); err != nil {
		return "", fmt.Errorf("run it from the top of the repository, as `make test` does: %w", err)
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	return os.MkdirTemp(parent, time.Now().UTC().Format("20060102T150405Z-"))
}
