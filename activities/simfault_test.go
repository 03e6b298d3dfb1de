package activities_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/hypervisor/simulated"
)

func TestSimulateFault(t *testing.T) {
	c := simulated.New(simulated.Options{Hosts: 2, VMsPerHost: 1})
	a := of(t, c, func(o *activities.Options) { o.Injector = c })
	done, err := a.SimulateFault(t.Context(), contract.SimFaultInput{Action: contract.SimFailStarts, Target: "VM1", Count: 2, On: "B"})
	require.NoError(t, err)
	require.Equal(t, "VM1 on host B: the next 2 starts fail", done.Done)
	_, err = a.SimulateFault(t.Context(), contract.SimFaultInput{Action: contract.SimCut, Target: "A", On: "B"})
	require.ErrorContains(t, err, "cut is not about a host")

	_, err = of(t, c, nil).SimulateFault(t.Context(), contract.SimFaultInput{Action: contract.SimKill, Target: "VM1"})
	require.ErrorContains(t, err, "site s is real")
}
