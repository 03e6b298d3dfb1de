package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// The build tags: every build that binds libvirt opens it at run time, and the
// tests against real hosts hide behind a tag of their own.
const (
	driverTag = "libvirt_dlopen"
	labTag    = "lab"
	lifeTag   = "life"
)

// stage is one part of the whole.
type stage struct {
	name, what string
	// tests says that the stage runs Go tests, which -run can choose among.
	tests bool
	run   func(context.Context, stageInput) result
}

// stageInput is what a stage is told about the run it belongs to.
type stageInput struct {
	name   string
	dir    string // for logs
	filter string // regexp for go test's -run; empty: all tests
}

// stages in the order in which they run: what fails fastest comes first.
var stages = []stage{
	{name: "lint", what: "golangci-lint", run: check(
		command{argv: []string{"golangci-lint", "run"}})},
	{name: "workflowcheck", what: "workflow code is deterministic", run: check(
		command{
			argv: []string{"workflowcheck", "-config", ".workflowcheck.yml", "./workflows/..."},
			// It has no -tags of its own.
			env: []string{"GOFLAGS=" + os.Getenv("GOFLAGS") + " -tags=" + driverTag},
		})},
	{name: "client", what: "the operator's client builds without cgo, for other systems too", run: check(
		command{env: []string{"CGO_ENABLED=0"}, argv: []string{"go", "vet", "./cmd/..."}},
		command{env: []string{"CGO_ENABLED=0"}, argv: []string{"go", "build", "-o", os.DevNull, "./cmd/holdfast"}},
		command{env: []string{"CGO_ENABLED=0", "GOOS=darwin", "GOARCH=arm64"}, argv: []string{"go", "vet", "./cmd/..."}})},
	{name: "unit", what: "unit tests under the race detector", tests: true, run: unitTests},
	{name: "life", what: "a simulated day of a site, with and without faults", run: lifeTests},
	{name: "lab", what: "tests against real hosts and guests", tests: true, run: labTests},
}

func stageNames() []string {
	names := make([]string, len(stages))
	for i, s := range stages {
		names[i] = s.name
	}
	return names
}

// check makes a stage of commands that count as one test: it passes when all do.
func check(commands ...command) func(context.Context, stageInput) result {
	return func(ctx context.Context, in stageInput) result {
		var r result
		for _, c := range commands {
			if err := c.run(ctx); err != nil {
				r.fail(in.name, "", err.Error())
				return r
			}
		}
		r.passed++
		return r
	}
}

func unitTests(ctx context.Context, in stageInput) result {
	return goTest(ctx, in, "pkgname", "-race", "-tags="+driverTag, "-timeout=10m", "./...")
}

// lifeTests run without the race detector, which would make a day of ten
// minutes' work: the same code runs under it in the unit tests, on less. Its
// counts are printed.
func lifeTests(ctx context.Context, in stageInput) result {
	return goTest(ctx, in, "standard-verbose", "-tags="+lifeTag, "-timeout=30m", "./test/life")
}

// labTests runs the packages that have tests for the lab, one after the other:
// they share the machine's network names, its CPUs and its memory.
func labTests(ctx context.Context, in stageInput) result {
	packages, err := labPackages(ctx)
	if err != nil {
		var r result
		r.fail(in.name, "", err.Error())
		return r
	}
	args := []string{"-race", "-tags=" + driverTag + "," + labTag, "-p=1", "-timeout=45m"}
	return goTest(ctx, in, "testname", append(args, packages...)...)
}

// goTest runs go test under gotestsum, which shows progress line by line in
// the given format and the output of what failed, and counts from the events
// that it writes down. Results are never taken from go's test cache: what the
// tests depend on (hosts, tools, other packages' files) is beyond its sight.
func goTest(ctx context.Context, in stageInput, format string, args ...string) result {
	events := filepath.Join(in.dir, in.name+".json")
	argv := []string{
		"gotestsum", "--format=" + format, "--format-hide-empty-pkg", "--hide-summary=skipped",
		"--jsonfile=" + events, "--", "-count=1",
	}
	if in.filter != "" {
		argv = append(argv, "-run="+in.filter)
	}
	ran := command{argv: append(argv, args...)}.run(ctx)

	got, err := tallyFile(events)
	switch {
	case ran != nil && ctx.Err() != nil: // which may have cut the events short
		got.fail(in.name, "", ran.Error())
	case err != nil:
		got.fail(in.name, "", err.Error())
	case ran != nil && len(got.failures) == 0:
		got.fail(in.name, "", fmt.Sprintf("no test failed, and still: %v", ran))
	case got.passed == 0 && len(got.failures) == 0:
		got.fail(in.name, "", "no test was run")
	}
	return got
}

func tallyFile(name string) (result, error) {
	f, err := os.Open(name)
	if err != nil {
		return result{}, err
	}
	defer f.Close()
	return tally(f)
}

// testFiles are the test files of a package under one set of build tags.
type testFiles struct {
	ImportPath                string
	TestGoFiles, XTestGoFiles []string
}

// labPackages lists the packages that have test files for the lab alone.
func labPackages(ctx context.Context) ([]string, error) {
	without, err := listTestFiles(ctx, driverTag)
	if err != nil {
		return nil, err
	}
	with, err := listTestFiles(ctx, driverTag+","+labTag)
	if err != nil {
		return nil, err
	}
	packages := grown(without, with)
	if len(packages) == 0 {
		return nil, fmt.Errorf("no package has a test file with the build tag %q", labTag)
	}
	return packages, nil
}

func listTestFiles(ctx context.Context, tags string) ([]testFiles, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "list", "-tags="+tags, "-json=ImportPath,TestGoFiles,XTestGoFiles", "./...")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, stderr.String())
	}
	var all []testFiles
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p testFiles
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		all = append(all, p)
	}
}

// grown returns the packages that have a test file in with but not in without.
func grown(without, with []testFiles) []string {
	before := map[string]testFiles{}
	for _, p := range without {
		before[p.ImportPath] = p
	}
	var out []string
	for _, p := range with {
		was := before[p.ImportPath]
		known := slices.Concat(was.TestGoFiles, was.XTestGoFiles)
		isNew := func(file string) bool { return !slices.Contains(known, file) }
		if slices.ContainsFunc(slices.Concat(p.TestGoFiles, p.XTestGoFiles), isNew) {
			out = append(out, p.ImportPath)
		}
	}
	return out
}
