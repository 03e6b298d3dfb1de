//go:build lab

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/starter"
	"holdfast/test/lab"
	"holdfast/test/rig"
)

// TestHostsThatAreNotWell has a row for each kind of fault of a host, and what
// peers get wrong about it.
func TestHostsThatAreNotWell(t *testing.T) {
	alarms := newHook(t)
	r := makeLabRig(t, lab.Options{Hosts: 3, VMs: 4, Power: true}, unmeasured(closely)+alarms.settings())
	r.worker(t)
	monitor := r.monitor(t)
	r.agentAnswers(t, "VM1", "VM2", "VM3", "VM4")
	before := r.vm(t, "VM1")

	for kind, f := range map[fault.Kind][2]lab.FaultKind{
		fault.KindLibvirtdHung: {lab.FaultHangLibvirtd, lab.FaultStartLibvirtd},
		fault.KindLibvirtdDead: {lab.FaultKillLibvirtd, lab.FaultStartLibvirtd},
	} {
		t.Run(string(kind)+" while guests run, and one of them dies", func(t *testing.T) {
			died, earlier := r.vm(t, "VM4"), r.incidents(t, "VM4")
			require.NoError(t, r.inject(t, f[0], "A")())
			defer r.anyway(t, f[1], "A")
			r.seen(t, kind, "A")
			r.one(t, kind, "A")
			require.NoError(t, r.inject(t, lab.FaultKill, "VM4")())
			require.NoError(t, r.inject(t, f[1], "A")())
			inc := r.closed(t, "VM4", earlier, contract.OutcomeRecovered)
			require.Equal(t, fault.KindCrashed, inc.Fault.Kind)
			r.startedOnce(t, died)
			r.calm(t)
			now := r.vm(t, "VM1")
			require.Equal(t, before.Starts, now.Starts, "a healthy guest was touched")
			require.Equal(t, before.Boots, now.Boots)
		})
	}
	t.Run("cut off the network", func(t *testing.T) {
		require.NoError(t, r.inject(t, lab.FaultCut, "B")())
		defer r.anyway(t, lab.FaultHeal, "B")
		f := r.seen(t, fault.KindHostUnreachable, "B")
		require.True(t, slices.ContainsFunc(f.Votes, func(v fault.Vote) bool { return v.From == "worker" && v.Says == fault.HostSilent }), asJSON(f))
		r.one(t, fault.KindHostUnreachable, "B")
		require.NoError(t, r.inject(t, lab.FaultHeal, "B")())
		r.calm(t)
		r.open(t, fault.Fault{})
	})
	t.Run("all hosts cut off at once is the monitor's own trouble", func(t *testing.T) {
		defer func() {
			for _, h := range []string{"A", "B", "C"} {
				r.anyway(t, lab.FaultHeal, h)
			}
		}()
		for _, h := range []string{"A", "B", "C"} {
			require.NoError(t, r.inject(t, lab.FaultCut, h)())
		}
		f := r.seen(t, fault.KindCutOff, r.siteName())
		require.NotEmpty(t, f.Evidence)
		require.Equal(t, []string{string(fault.KindCutOff) + " of " + r.siteName()}, names(r.standing(t)))
		for _, h := range []string{"A", "B", "C"} {
			require.NoError(t, r.inject(t, lab.FaultHeal, h)())
		}
		r.calm(t)
		r.open(t, fault.Fault{})
	})
	t.Run("powered off, and its VM lost when it is back", func(t *testing.T) {
		earlier := r.incidents(t, "VM3")
		require.NoError(t, r.inject(t, lab.FaultPowerOff, "C")())
		defer r.anyway(t, lab.FaultPowerOn, "C")
		f := r.seen(t, fault.KindHostOff, "C")
		require.True(t, slices.ContainsFunc(f.Votes, func(v fault.Vote) bool { return v.Says == fault.HostOff }), asJSON(f))
		r.one(t, fault.KindHostOff, "C")
		require.NoError(t, r.inject(t, lab.FaultPowerOn, "C")())
		inc := r.closed(t, "VM3", earlier, contract.OutcomeRecovered)
		require.Equal(t, fault.KindLost, inc.Fault.Kind)
		r.calm(t)
	})
	t.Run("too many at once", func(t *testing.T) {
		for _, h := range []string{"B", "C"} {
			require.NoError(t, r.inject(t, lab.FaultPowerOff, h)())
			defer r.anyway(t, lab.FaultPowerOn, h) //nolint:gocritic // two of them, until this test ends
		}
		r.seen(t, fault.KindStorm, r.siteName())
		for _, h := range []string{"B", "C"} {
			require.NotEmpty(t, r.seen(t, fault.KindHostOff, h).Frozen, "nothing may be done to %s", h)
		}
		require.Len(t, r.standing(t), 3, "no VM is blamed: %v", names(r.standing(t)))
		for _, h := range []string{"B", "C"} {
			require.NoError(t, r.inject(t, lab.FaultPowerOn, h)())
		}
		r.calm(t)
		r.open(t, fault.Fault{})
	})
	t.Run("Temporal unreachable", func(t *testing.T) {
		r.server.Kill()
		alarms.await(t, "firing", fault.KindTemporalAway)
		require.NoError(t, r.server.Restart(t.Context()))
		alarms.await(t, "resolved", fault.KindTemporalAway)
		r.calm(t)
		r.open(t, fault.Fault{})
	})
	monitor.Kill()
	t.Run("a monitor at another place", func(t *testing.T) { aMonitorElsewhere(t, r) })
}

// hook is a receiver of alarms.
type hook struct {
	url  string
	mu   sync.Mutex
	said []string // such as "firing storm"
}

func newHook(t *testing.T) *hook {
	h := &hook{}
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body struct {
			Status string
			Fault  fault.Fault
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.said = append(h.said, body.Status+" "+string(body.Fault.Kind))
	}))
	t.Cleanup(s.Close)
	h.url = s.URL
	return h
}

// settings send alarms here.
func (h *hook) settings() string {
	return fmt.Sprintf("alerts: {out: {webhook: [{url: %q}]}}\n", h.url)
}

func (h *hook) await(t *testing.T, status string, kind fault.Kind) {
	t.Helper()
	rig.Eventually(t, fmt.Sprintf("an alarm: %s %s", status, kind), func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if !slices.Contains(h.said, status+" "+string(kind)) {
			return fmt.Errorf("alarms: %v", h.said)
		}
		return nil
	})
}

// aMonitorElsewhere watches from a place of its own, where it can be cut off from
// hosts that the worker goes on to reach.
func aMonitorElsewhere(t *testing.T, r *labRig) {
	v, err := r.Vantage(t.Context(), "mon")
	require.NoError(t, err)
	temporal, err := r.Forward(t.Context(), "mon", r.server.Address)
	require.NoError(t, err)
	argv := v.Argv(r.binary, "monitor", r.siteFile)
	rig.Run(t, "monitor-elsewhere", append(slices.Clone(r.env), "TEMPORAL_ADDRESS="+temporal), argv[0], argv[1:]...)
	r.agentAnswers(t, "VM1")
	for _, c := range []struct {
		name  string
		hosts []string // none: all
		want  []string // faults
		held  string   // host whose fault is held back
	}{
		{"from one of three hosts that the worker reaches", []string{"C"}, []string{}, "C"},
		{"from all hosts", nil, []string{string(fault.KindCutOff) + " of " + r.siteName()}, "A"},
	} {
		t.Run("cut off "+c.name, func(t *testing.T) {
			_, err := r.CutVantage(t.Context(), "mon", c.hosts...)
			require.NoError(t, err)
			rig.Eventually(t, "it knows that it does not know", func() error {
				seen, err := r.starter.Faults(t.Context(), contract.FaultsInput{Site: r.siteName()})
				if err != nil {
					return err
				}
				held := slices.ContainsFunc(seen.Doubts, func(d contract.Doubt) bool { return d.Fault.Host == c.held })
				if !held || !slices.Equal(names(seen.Faults), c.want) {
					return fmt.Errorf("faults %v, held back %s", names(seen.Faults), asJSON(seen.Doubts))
				}
				return nil
			})
			r.open(t, fault.Fault{})
			_, err = r.HealVantage(t.Context(), "mon", c.hosts...)
			require.NoError(t, err)
			r.calm(t)
			r.open(t, fault.Fault{})
		})
	}
}

// seen waits for a fault of a kind.
func (r *labRig) seen(t *testing.T, kind fault.Kind, subject string) fault.Fault {
	t.Helper()
	var found fault.Fault
	rig.Eventually(t, fmt.Sprintf("%s of %s is seen", kind, subject), func() error {
		standing := r.standing(t)
		for _, f := range standing {
			if f.Kind == kind && f.Subject() == subject {
				found = f
				return nil
			}
		}
		return fmt.Errorf("faults: %s", names(standing))
	})
	return found
}

// one checks that a host's fault is the only one, with one open incident.
func (r *labRig) one(t *testing.T, kind fault.Kind, host string) {
	t.Helper()
	require.Equal(t, []string{string(kind) + " of " + host}, names(r.standing(t)))
	r.open(t, fault.Fault{Kind: kind})
	list, err := r.starter.Incidents(t.Context(), starter.IncidentFilter{OpenOnly: true})
	require.NoError(t, err)
	require.Equal(t, string(kind), list[0].Kind)
	require.Equal(t, host, list[0].Host)
}
