package activities_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/internal/ladder"
)

// The annotation that counts is the VM's own as it is now, not what a fault says of it.
func TestInspectReadsTheAnnotationItself(t *testing.T) {
	c := simulated.New(simulated.Options{Site: site, Hosts: 2, VMsPerHost: 1})
	sim, _ := c.VM("VM1")
	vm := fault.VM{UUID: sim.UUID, Name: "VM1"}
	a := of(t, c, func(o *activities.Options) {
		o.PolicyFor = func(_ fault.Kind, _ map[string]string, mode string) ladder.Policy {
			p := ladder.DefaultPolicy()
			p.Observe = mode == "observe"
			return p
		}
	})
	_, err := a.Annotate(t.Context(), contract.AnnotateInput{VM: vm, Changes: []string{"mode=observe"}})
	require.NoError(t, err)
	require.NoError(t, c.KillVM("VM1"))
	for _, host := range []string{"A", ""} {
		seen, err := a.Inspect(t.Context(), contract.InspectInput{VM: vm, Host: host, PolicyInput: contract.PolicyInput{Kind: fault.KindCrashed}})
		require.NoError(t, err)
		require.True(t, seen.Policy.Observe, "the fault did not say so")
	}
	_, err = a.Annotate(t.Context(), contract.AnnotateInput{VM: vm, Changes: []string{"mode-"}})
	require.NoError(t, err)
	seen, err := a.Inspect(t.Context(), contract.InspectInput{VM: vm, Host: "A", PolicyInput: contract.PolicyInput{Kind: fault.KindCrashed, Mode: "observe"}})
	require.NoError(t, err)
	require.False(t, seen.Policy.Observe, "it says so no more")
}
