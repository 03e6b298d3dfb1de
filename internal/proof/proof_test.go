package proof_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"holdfast/internal/fault"
	"holdfast/internal/proof"
)

var now = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func answered(host, state string, active bool) proof.Answer {
	return proof.Answer{Sighting: fault.Sighting{Host: host, State: state, At: now}, Active: active}
}

func absent(host string) proof.Answer {
	return proof.Answer{Sighting: fault.Sighting{Host: host, Absent: true, At: now}}
}

func silent(host string) proof.Answer {
	return proof.Answer{Sighting: fault.Sighting{Host: host, At: now}, Error: "no answer"}
}

func TestMayStart(t *testing.T) {
	before := now.Add(-time.Minute)
	for name, tc := range map[string]struct {
		answers  []proof.Answer
		evidence []fault.Sighting
		proofs   []proof.Kind
		refused  string
	}{
		"alone":                {answers: []proof.Answer{answered("A", "shut off", false)}, proofs: []proof.Kind{}},
		"others do not run it": {answers: []proof.Answer{answered("A", "shut off", false), absent("B"), answered("C", "shut off", false)}, proofs: []proof.Kind{proof.ReportedStopped, proof.ReportedStopped}},
		"another runs it":      {answers: []proof.Answer{answered("A", "shut off", false), answered("B", "running", true)}, refused: "it is active on B"},
		"another has it paused": {answers: []proof.Answer{answered("A", "shut off", false), answered("B", "paused", true)},
			refused: "it is active on B"},
		"another is silent": {answers: []proof.Answer{answered("A", "shut off", false), silent("B")},
			refused: "B may be running it and cannot be asked"},
		"silent, but was never there": {answers: []proof.Answer{answered("A", "shut off", false), silent("B")},
			evidence: []fault.Sighting{{Host: "B", Absent: true, At: before}}, proofs: []proof.Kind{proof.NeverThere}},
		"silent, and has it defined": {answers: []proof.Answer{answered("A", "shut off", false), silent("B")},
			evidence: []fault.Sighting{{Host: "B", State: "shut off", At: before}}, refused: "B may be running it"},
		"silent, the newest evidence counts": {answers: []proof.Answer{answered("A", "shut off", false), silent("B")},
			evidence: []fault.Sighting{{Host: "B", State: "running", At: before}, {Host: "B", Absent: true, At: before.Add(-time.Second)}}, refused: "B may be running it"},
		"evidence never beats an answer": {answers: []proof.Answer{answered("A", "shut off", false), answered("B", "running", true)},
			evidence: []fault.Sighting{{Host: "B", Absent: true, At: before}}, refused: "it is active on B"},
	} {
		t.Run(name, func(t *testing.T) {
			proofs, err := proof.MayStart("VM1", "A", tc.answers, tc.evidence)
			if tc.refused != "" {
				var refusal *proof.Refusal
				require.ErrorAs(t, err, &refusal)
				require.ErrorContains(t, err, "refused to start VM1 on A: ")
				require.ErrorContains(t, err, tc.refused)
				require.Empty(t, proofs)
				return
			}
			require.NoError(t, err)
			kinds := []proof.Kind{}
			for _, p := range proofs {
				kinds = append(kinds, p.Kind)
			}
			require.Equal(t, tc.proofs, kinds)
		})
	}
}

// Whatever the answers: a permission names a proof for every other host, and is
// never given while one of them runs the VM.
func TestMayStartNeverAllowsASecondCopy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hosts := []string{"A", "B", "C", "D"}[:rapid.IntRange(1, 4).Draw(t, "hosts")]
		var answers []proof.Answer
		var evidence []fault.Sighting
		for _, h := range hosts {
			answers = append(answers, rapid.SampledFrom([]proof.Answer{
				answered(h, "running", true), answered(h, "paused", true), answered(h, "shut off", false), absent(h), silent(h),
			}).Draw(t, "answer of "+h))
			if rapid.Bool().Draw(t, "evidence about "+h) {
				evidence = append(evidence, fault.Sighting{Host: h, Absent: rapid.Bool().Draw(t, "absent"), State: "shut off", At: now})
			}
		}
		proofs, err := proof.MayStart("VM1", "A", answers, evidence)
		for _, a := range answers[1:] {
			if a.Active && err == nil {
				t.Fatalf("allowed while %s has it active", a.Host)
			}
		}
		if err == nil && len(proofs) != len(hosts)-1 {
			t.Fatalf("%d proofs for %d other hosts", len(proofs), len(hosts)-1)
		}
		if err != nil && !errors.As(err, new(*proof.Refusal)) {
			t.Fatalf("not a refusal: %v", err)
		}
	})
}
