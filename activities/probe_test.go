package activities_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/internal/ladder"
)

const site = "s"

func of(t *testing.T, c *simulated.Cluster, change func(*activities.Options)) *activities.Activities {
	t.Helper()
	o := activities.Options{Site: site, Hosts: c.Site(), Policy: ladder.DefaultPolicy(), CallTimeout: time.Second}
	if change != nil {
		change(&o)
	}
	a, err := activities.New(o)
	require.NoError(t, err)
	return a
}

func TestProbe(t *testing.T) {
	c := simulated.New(simulated.Options{Site: site, Hosts: 2})
	var tcp fault.Verdict
	a := of(t, c, func(o *activities.Options) {
		o.CallTimeout = 100 * time.Millisecond
		o.Vote = func(_ context.Context, host string) []fault.Vote {
			require.Equal(t, "A", host)
			return []fault.Vote{{From: "tcp", Says: tcp, Why: "a reason", At: time.Now()}}
		}
	})
	probe := func(host string) fault.Vote {
		t.Helper()
		out, err := a.Probe(t.Context(), contract.ProbeInput{Host: host})
		require.NoError(t, err)
		require.Equal(t, "worker", out.Vote.From)
		require.False(t, out.Vote.At.IsZero())
		return out.Vote
	}
	tcp = fault.HostAccepts
	require.Equal(t, fault.HostAnswers, probe("A").Says)

	require.NoError(t, c.HangLibvirtd("A"))
	v := probe("A")
	require.Equal(t, fault.HostAccepts, v.Says, "its kernel lives")
	require.Contains(t, v.Why, "libvirt: silent (")
	require.Contains(t, v.Why, "tcp: accepts (a reason)")

	for says, want := range map[fault.Verdict]fault.Verdict{
		fault.HostSilent: fault.HostSilent, fault.HostRefuses: fault.HostRefuses, fault.HostOff: fault.HostOff, fault.NoVerdict: fault.HostSilent,
	} {
		tcp = says
		require.Equal(t, want, probe("A").Says)
	}
	v = probe("Z")
	require.Equal(t, fault.NoVerdict, v.Says)
	require.Contains(t, v.Why, `host "Z" is not in the worker's site file`)
}

func TestProbeWithoutAnotherWayToLook(t *testing.T) {
	c := simulated.New(simulated.Options{Site: site, Hosts: 1})
	a := of(t, c, nil)
	out, err := a.Probe(t.Context(), contract.ProbeInput{Host: "A"})
	require.NoError(t, err)
	require.Equal(t, fault.HostAnswers, out.Vote.Says)
	require.NoError(t, c.CutHost("A"))
	out, err = a.Probe(t.Context(), contract.ProbeInput{Host: "A"})
	require.NoError(t, err)
	require.Equal(t, fault.HostSilent, out.Vote.Says)
	require.Len(t, out.Looks, 1)
}

// The policy is the site's for the kind, the labels and the mode of the VM.
func TestPolicyFor(t *testing.T) {
	c := simulated.New(simulated.Options{Site: site, Hosts: 1, VMsPerHost: 1})
	vm, _ := c.VM("VM1")
	plain := of(t, c, nil)
	p, err := plain.Policy(t.Context(), contract.PolicyInput{Kind: fault.KindHung})
	require.NoError(t, err)
	require.Equal(t, ladder.DefaultPolicy(), p)

	a := of(t, c, func(o *activities.Options) {
		o.PolicyFor = func(kind fault.Kind, labels map[string]string, mode string) ladder.Policy {
			p := ladder.DefaultPolicy()
			p.Observe, p.ObserveWhy = true, string(kind)+" "+labels["tier"]+" "+mode
			return p
		}
	})
	in := contract.PolicyInput{Kind: fault.KindCrashed, Labels: map[string]string{"tier": "db"}, Mode: "observe"}
	got, err := a.Inspect(t.Context(), contract.InspectInput{VM: fault.VM{UUID: vm.UUID}, PolicyInput: in})
	require.NoError(t, err)
	require.Equal(t, "crashed  ", got.Policy.ObserveWhy, "the definition has no annotation, whatever the fault says")
	got, err = a.Inspect(t.Context(), contract.InspectInput{VM: fault.VM{UUID: "99999999-9999-4999-8999-999999999999"}, PolicyInput: in})
	require.NoError(t, err)
	require.Equal(t, "crashed db observe", got.Policy.ObserveWhy, "no host has the VM to ask")
}
