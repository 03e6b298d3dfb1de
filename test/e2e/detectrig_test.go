//go:build lab

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/starter"
	"holdfast/test/lab"
	"holdfast/test/rig"
)

// closely has everything seen soon. The emulated guests share two processors, so
// that "soon" still leaves room for a sample or two that is late.
const closely = `
monitor:
  sweep: 2s
  sample: 1s
  pools: 5s
  callTimeout: 4s
  hungAfter: 5s
  bootWithin: 25s
  unreachableAfter: 6s
  temporalAfter: 5s
  flap: {raises: 0}
rules:
  # What the machine has no processor for is steal: the guest gets a part.
  - {name: cpu, raise: 30, clear: 20, for: 4s, warmup: 30s}
  - {name: memory, raise: 80, clear: 75, for: 4s, warmup: 0s}
  - {name: disk-ops, raise: 400, clear: 200, for: 4s, warmup: 0s}
  - {name: net, raise: 200000, clear: 100000, for: 4s, warmup: 0s}
  - {name: disk-full, for: 2s}
  # A guest that was stopped for a while is behind by as much, and nobody sets it.
  - {name: clock, raise: 300, clear: 200, warmup: 0s}
  # One machine's processors, memory and disks are those of all hosts of the lab.
  - {name: steal, off: true}
  - {name: net-drops, off: true}
  - {name: disk-latency, off: true}
  - {name: host-cpu, off: true}
  - {name: host-memory, off: true}
recovery:
  backoff: {initial: 100ms, max: 200ms}
  verify: {stableFor: 1s}
listen: {worker: "127.0.0.1:0", monitor: "127.0.0.1:0"}
`

// unmeasured switches off every rule of some settings: what guests do to their
// load and to their clocks when they boot is another test's.
func unmeasured(settings string) string {
	return strings.NewReplacer("off: true}", "off: true}", ", for:", ", off: true, for:", ", clear: 200, warmup", ", clear: 200, off: true, warmup").Replace(settings)
}

// anyway undoes a fault also where the test has failed; undoing twice is none.
func (r *labRig) anyway(t *testing.T, undo lab.FaultKind, target string) {
	_, _ = r.Inject(t.Context(), undo, target, "")
}

// row is one kind of fault, how it is made and how it is mended.
type row struct {
	kind     fault.Kind
	vm       string // that it is about
	evidence string // of what, among the fault's evidence
	breaks   func() error
	mends    func() error
	also     fault.Kind // what it may bring besides: requests take an emulated guest much of its CPU
}

// sees makes the fault, and checks that it alone is seen, with its evidence, that
// an incident of its kind is open if there should be one and none besides, and
// that all is over once it is mended.
func (r *labRig) sees(t *testing.T, c row) {
	t.Helper()
	r.calm(t)
	require.NoError(t, c.breaks())
	mended := false
	defer func() {
		if !mended { // so that the next row can be seen
			_ = c.mends()
		}
	}()
	var f fault.Fault
	rig.Eventually(t, fmt.Sprintf("%s of %s is seen", c.kind, c.vm), func() error {
		standing := r.standing(t)
		i := slices.IndexFunc(standing, func(f fault.Fault) bool { return f.Kind == c.kind })
		if i < 0 {
			return fmt.Errorf("faults: %s", names(standing))
		}
		f = standing[i]
		return nil
	})
	require.Equal(t, c.vm, f.Subject())
	require.Equal(t, c.kind.Level(), f.HowBad())
	require.True(t, slices.ContainsFunc(f.Evidence, func(e fault.Evidence) bool { return e.What == c.evidence && e.Value != "" }),
		"evidence of %s in %s", c.evidence, asJSON(f))
	others := slices.DeleteFunc(r.standing(t), func(f fault.Fault) bool { return f.Kind == c.also && f.Subject() == c.vm })
	require.Equal(t, []string{string(c.kind) + " of " + c.vm}, names(others), "no other fault stands")
	for _, open := range r.open(t, f) {
		require.Equal(t, string(c.kind), open.Kind)
		inc, err := r.starter.Incident(t.Context(), open.ID)
		require.NoError(t, err)
		require.Equal(t, c.kind, inc.Fault.Kind)
		require.NotEmpty(t, inc.Why)
	}
	mended = true
	require.NoError(t, c.mends())
	r.calm(t)
	r.open(t, fault.Fault{})
}

// open waits until exactly the incident of this fault is open, or none, and
// returns it.
func (r *labRig) open(t *testing.T, f fault.Fault) (open []starter.IncidentSummary) {
	t.Helper()
	want := 0
	if f.Kind != "" && f.Respond() == fault.RespondIncident {
		want = 1
	}
	rig.Eventually(t, fmt.Sprintf("%d incidents are open", want), func() error {
		var err error
		open, err = r.starter.Incidents(t.Context(), starter.IncidentFilter{OpenOnly: true})
		if err != nil || len(open) != want {
			return fmt.Errorf("open: %s: %w", asJSON(open), err)
		}
		return nil
	})
	return open
}

func (r *labRig) standing(t *testing.T) []fault.Fault {
	t.Helper()
	var out contract.FaultsResult
	rig.Eventually(t, "a monitor answers", func() (err error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		out, err = r.starter.Faults(ctx, contract.FaultsInput{Site: r.siteName()})
		return err
	})
	return out.Faults
}

func (r *labRig) calm(t *testing.T) {
	t.Helper()
	rig.Eventually(t, "no fault stands", func() error {
		if s := r.standing(t); len(s) > 0 {
			return fmt.Errorf("faults: %s", asJSON(s))
		}
		return nil
	})
}

func names(faults []fault.Fault) []string {
	out := []string{}
	for _, f := range faults {
		out = append(out, string(f.Kind)+" of "+f.Subject())
	}
	return out
}

// fact waits until the monitor knows a fact about something.
func (r *labRig) fact(t *testing.T, about, what string, ok func(fault.Evidence) bool) {
	t.Helper()
	rig.Eventually(t, fmt.Sprintf("%s of %s", what, about), func() error {
		x, err := r.starter.Explain(t.Context(), contract.ExplainInput{Site: r.siteName(), Name: about})
		if err != nil {
			return err
		}
		for _, e := range x.Facts {
			if e.What == what && ok(e) {
				return nil
			}
		}
		return fmt.Errorf("facts: %s", asJSON(x.Facts))
	})
}

func (r *labRig) agentAnswers(t *testing.T, vms ...string) {
	for _, vm := range vms {
		r.fact(t, vm, "guest agent", func(e fault.Evidence) bool { return e.Value == "answers" })
	}
}

// inject does a fault of the lab to a target.
func (r *labRig) inject(t *testing.T, kind lab.FaultKind, target string) func() error {
	return func() error {
		_, err := r.Inject(t.Context(), kind, target, "")
		return err
	}
}

// do has a guest do something.
func (r *labRig) do(t *testing.T, vm string, what lab.Task, o lab.TaskOptions) func() error {
	return func() error {
		_, err := r.Do(t.Context(), vm, what, o)
		return err
	}
}

func (r *labRig) virsh(t *testing.T, host string, args ...string) func() error {
	return func() error {
		_, err := r.Virsh(t.Context(), host, args...)
		return err
	}
}

// both does one thing and then another.
func both(first, second func() error) func() error {
	return func() error {
		if err := first(); err != nil {
			return err
		}
		return second()
	}
}
