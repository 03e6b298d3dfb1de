package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// result is what a stage counted.
type result struct {
	passed   int
	failures []failure
}

// failure is one thing that did not pass.
type failure struct {
	where string // the stage, or the package
	test  string // empty for a failure outside any test
	why   string
}

// String reads like "holdfast/internal/ladder TestNext/crash_loop: failed".
func (f failure) String() string {
	if f.test == "" {
		return f.where + ": " + f.why
	}
	return f.where + " " + f.test + ": " + f.why
}

func (r *result) fail(where, test, why string) {
	r.failures = append(r.failures, failure{where, test, why})
}

func (r *result) add(other result) {
	r.passed += other.passed
	r.failures = append(r.failures, other.failures...)
}

// event is a line of `go test -json`: a TestEvent, or a BuildEvent, which has
// no Package (go doc test2json, go help buildjson).
type event struct {
	Action      string
	Package     string
	Test        string
	Output      string
	FailedBuild string
}

// testState is what is known of one test so far.
type testState struct {
	name string
	end  string // pass, fail, skip; empty while it runs
	// said is the last that it printed itself, for the reason of a skip.
	said string
	// parent: it has subtests, which are counted instead of it.
	parent bool
	// below: a test under it did not pass, so that its own failure is no news.
	below bool
}

// packageState is what is known of one package so far. Tests are in the order
// in which they began.
type packageState struct {
	name        string
	end         string
	failedBuild string
	tests       []*testState
	byName      map[string]*testState
}

// tally counts the tests in the output of `go test -json`:
//
//   - a test without subtests counts as one, passed or failed;
//   - a test with subtests is not counted, its subtests are; but it counts as
//     failed if it fails by itself, with no failed subtest;
//   - a test that was skipped, or that began and never ended, counts as failed;
//   - a package that fails with no failed test counts as one failed: it does
//     not build, its TestMain failed, or it raced or panicked outside its tests.
//
// The error says that the output itself is no good; what was counted until
// then is returned with it.
func tally(r io.Reader) (result, error) {
	var packages []*packageState
	byName := map[string]*packageState{}

	var err error
	dec := json.NewDecoder(r)
	for {
		var e event
		if err = dec.Decode(&e); err != nil {
			break
		}
		if e.Package == "" {
			continue // of a build, shown by gotestsum; the package's own event follows
		}
		p := byName[e.Package]
		if p == nil {
			p = &packageState{name: e.Package, byName: map[string]*testState{}}
			byName[e.Package] = p
			packages = append(packages, p)
		}
		p.take(e)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	} else {
		err = fmt.Errorf("the events of the tests cannot be read to their end: %w", err)
	}

	var total result
	for _, p := range packages {
		total.add(p.count())
	}
	return total, err
}

// take records an event of this package.
func (p *packageState) take(e event) {
	ended := e.Action == "pass" || e.Action == "fail" || e.Action == "skip"
	if e.Test == "" {
		if ended {
			p.end, p.failedBuild = e.Action, e.FailedBuild
		}
		return
	}
	t := p.byName[e.Test]
	if t == nil {
		t = &testState{name: e.Test}
		p.byName[e.Test] = t
		p.tests = append(p.tests, t)
		for _, above := range p.above(e.Test) {
			above.parent = true
		}
	}
	switch {
	case ended:
		t.end = e.Action
	case e.Action == "output" && !strings.HasPrefix(strings.TrimSpace(e.Output), "--- ") &&
		!strings.HasPrefix(e.Output, "=== "):
		t.said = strings.TrimSpace(e.Output)
	}
}

// above lists the tests that a subtest runs under. A slash in a name need not
// mean a test above it.
func (p *packageState) above(name string) []*testState {
	var found []*testState
	for i, c := range name {
		if c != '/' {
			continue
		}
		if t := p.byName[name[:i]]; t != nil {
			found = append(found, t)
		}
	}
	return found
}

func (p *packageState) count() result {
	var r result
	// Backwards: a test begins before its subtests do.
	for _, t := range slices.Backward(p.tests) {
		if t.end == "pass" {
			if !t.parent {
				r.passed++
			}
			continue
		}
		for _, above := range p.above(t.name) {
			above.below = true
		}
		if !t.below {
			r.fail(p.name, t.name, t.why())
		}
	}
	slices.Reverse(r.failures)
	switch {
	case len(r.failures) > 0:
	case p.failedBuild != "":
		r.fail(p.name, "", "does not build")
	case p.end == "fail":
		r.fail(p.name, "", "failed outside its tests")
	case p.end == "":
		r.fail(p.name, "", "did not finish")
	}
	return r
}

func (t *testState) why() string {
	switch t.end {
	case "skip":
		return "skipped, which nothing may be: " + t.said
	case "":
		return "did not finish"
	}
	return "failed"
}
