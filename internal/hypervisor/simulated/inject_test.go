package simulated_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
)

func TestInjectKnowsEveryActionOfTheContract(t *testing.T) {
	require.ElementsMatch(t, []string{
		contract.SimKill, contract.SimPanic, contract.SimShutdown, contract.SimDestroy, contract.SimFailStarts,
		contract.SimPowerOff, contract.SimPowerOn, contract.SimCut, contract.SimHeal,
		contract.SimHangLibvirtd, contract.SimStartLibvirtd,
	}, simulated.Actions())
}

func TestInjectOnAVM(t *testing.T) {
	for action, want := range map[string]hypervisor.Domain{
		contract.SimKill:     {State: hypervisor.StateShutoff, Reason: hypervisor.ReasonCrashed},
		contract.SimPanic:    {State: hypervisor.StateCrashed, Reason: hypervisor.ReasonPanicked},
		contract.SimShutdown: {State: hypervisor.StateShutoff, Reason: hypervisor.ReasonShutdown},
		contract.SimDestroy:  {State: hypervisor.StateShutoff, Reason: hypervisor.ReasonDestroyed},
	} {
		t.Run(action, func(t *testing.T) {
			c := simulated.New(simulated.Options{Hosts: 1, VMsPerHost: 1})
			done, err := c.Inject(action, "VM1", 0)
			require.NoError(t, err)
			require.Contains(t, done, "VM1")
			vm, _ := c.VM("VM1")
			d, err := c.Host("A").Domain(t.Context(), vm.UUID)
			require.NoError(t, err)
			require.Equal(t, want.State, d.State)
			require.Equal(t, want.Reason, d.Reason)
		})
	}
}

func TestInjectOnAHost(t *testing.T) {
	c := simulated.New(simulated.Options{Hosts: 1, VMsPerHost: 1})
	h := c.Host("A")
	for _, step := range []struct {
		action  string
		answers bool
	}{
		{contract.SimCut, false}, {contract.SimHeal, true},
		{contract.SimHangLibvirtd, false}, {contract.SimStartLibvirtd, true},
		{contract.SimPowerOff, false}, {contract.SimPowerOn, true},
	} {
		done, err := c.Inject(step.action, "A", 0)
		require.NoError(t, err)
		require.Contains(t, done, "A")
		patience := time.Minute
		if !step.answers {
			patience = 50 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err = h.Connect(ctx)
		cancel()
		require.Equal(t, step.answers, err == nil, "after %s: %v", step.action, err)
	}
}

func TestInjectFailStarts(t *testing.T) {
	c := simulated.New(simulated.Options{Hosts: 1, VMsPerHost: 1})
	vm, _ := c.VM("VM1")
	for count, want := range map[int]string{-1: "every start fails", 0: "work again", 1: "next start fails", 3: "next 3 starts fail"} {
		done, err := c.Inject(contract.SimFailStarts, "VM1", count)
		require.NoError(t, err)
		require.Contains(t, done, want)
	}
	_, err := c.Inject(contract.SimFailStarts, "VM1", 1)
	require.NoError(t, err)
	_, err = c.Inject(contract.SimKill, "VM1", 0)
	require.NoError(t, err)
	require.ErrorIs(t, c.Host("A").Start(t.Context(), vm.UUID), hypervisor.ErrNoResource)
	require.NoError(t, c.Host("A").Start(t.Context(), vm.UUID))
}

func TestInjectRefusesWhatIsNotThere(t *testing.T) {
	c := simulated.New(simulated.Options{Hosts: 1, VMsPerHost: 1})
	_, err := c.Inject("explode", "VM1", 0)
	require.ErrorContains(t, err, "known: kill, panic")
	_, err = c.Inject(contract.SimKill, "VM9", 0)
	require.ErrorContains(t, err, `no VM "VM9"`)
	_, err = c.Inject(contract.SimCut, "Z", 0)
	require.ErrorContains(t, err, `no host "Z"`)
}
