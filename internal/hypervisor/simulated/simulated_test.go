package simulated_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
)

func TestNamesAndUUIDsAreAlwaysTheSame(t *testing.T) {
	a := simulated.New(simulated.Options{Hosts: 28, VMsPerHost: 2})
	b := simulated.New(simulated.Options{Hosts: 28, VMsPerHost: 2})
	require.Equal(t, a.VMs(), b.VMs())
	other := simulated.New(simulated.Options{Site: "other", Hosts: 1, VMsPerHost: 1})
	require.NotEqual(t, a.VMs()[0].UUID, other.VMs()[0].UUID)

	hosts := a.Hosts()
	require.Equal(t, []string{"A", "B", "Z", "AA", "AB"},
		[]string{hosts[0].Name(), hosts[1].Name(), hosts[25].Name(), hosts[26].Name(), hosts[27].Name()})
	on, err := a.ActiveOn("VM30")
	require.NoError(t, err)
	require.Equal(t, []string{"B"}, on)
}

func TestTwoCopiesAreSeen(t *testing.T) {
	ctx := t.Context()
	c := simulated.New(simulated.Options{Hosts: 2, VMsPerHost: 1})
	vm, _ := c.VM("VM1")
	require.NoError(t, c.DefineVM("VM1", "B"))
	require.NoError(t, c.CutHost("A")) // cut, and VM1 runs on: a restart elsewhere is the mistake
	require.NoError(t, c.Host("B").Start(ctx, vm.UUID))
	copies := c.TwoCopies()
	require.Len(t, copies, 1)
	require.Equal(t, []string{"A", "B"}, copies[0].Hosts)
}

func TestNoTwoCopiesAfterPowerOff(t *testing.T) {
	c := simulated.New(simulated.Options{Hosts: 2, VMsPerHost: 1})
	vm, _ := c.VM("VM1")
	require.NoError(t, c.DefineVM("VM1", "B"))
	require.NoError(t, c.PowerOffHost("A"))
	require.NoError(t, c.Host("B").Start(t.Context(), vm.UUID))
	require.NoError(t, c.PowerOnHost("A"))
	require.Empty(t, c.TwoCopies())
	d, err := c.Host("A").Domain(t.Context(), vm.UUID)
	require.NoError(t, err)
	require.Equal(t, hypervisor.StateShutoff, d.State)
	require.Equal(t, hypervisor.ReasonUnknown, d.Reason)
}

func TestFailedStartsAreCounted(t *testing.T) {
	ctx := t.Context()
	c := simulated.New(simulated.Options{Hosts: 1, VMsPerHost: 1})
	vm, _ := c.VM("VM1")
	host := c.Host("A")
	require.NoError(t, c.KillVM("VM1"))
	require.NoError(t, c.FailStarts("VM1", 2))
	for range 2 {
		require.ErrorIs(t, host.Start(ctx, vm.UUID), hypervisor.ErrNoResource)
		d, err := host.Domain(ctx, vm.UUID)
		require.NoError(t, err)
		require.Equal(t, hypervisor.ReasonFailed, d.Reason)
	}
	require.NoError(t, host.Start(ctx, vm.UUID))
	n, err := c.Starts(vm.UUID)
	require.NoError(t, err)
	require.Equal(t, 3, n)
}

func TestHungLibvirtdCarriesOutWhatItWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simulated.New(simulated.Options{Hosts: 1, VMsPerHost: 1})
		vm, _ := c.VM("VM1")
		host := c.Host("A")
		require.NoError(t, c.KillVM("VM1"))
		require.NoError(t, c.HangLibvirtd("A"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, host.Start(ctx, vm.UUID), hypervisor.ErrTimeout)
		require.NoError(t, c.ResumeLibvirtd("A"))
		d, err := host.Domain(t.Context(), vm.UUID)
		require.NoError(t, err)
		require.Equal(t, hypervisor.StateRunning, d.State, "the start took effect after its caller left")
	})
}

func TestSilentHostIsLostAfterAWhile(t *testing.T) {
	for name, fault := range map[string]struct {
		begin, end func(*simulated.Cluster, string) error
	}{
		"hang":  {(*simulated.Cluster).HangLibvirtd, (*simulated.Cluster).ResumeLibvirtd},
		"cut":   {(*simulated.Cluster).CutHost, (*simulated.Cluster).HealHost},
		"power": {(*simulated.Cluster).PowerOffHost, (*simulated.Cluster).PowerOnHost},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := simulated.New(simulated.Options{Hosts: 1, VMsPerHost: 1, DownAfter: 8 * time.Second})
				host := c.Host("A")
				events, err := host.Events(t.Context())
				require.NoError(t, err)
				require.Equal(t, hypervisor.EventConnectionUp, (<-events).Kind)
				begin := time.Now()
				require.NoError(t, fault.begin(c, "A"))

				_, err = host.Domains(t.Context()) // waits, and is let go when the connection is lost
				require.ErrorIs(t, err, hypervisor.ErrUnreachable)
				require.Equal(t, 8*time.Second, time.Since(begin))
				require.Equal(t, hypervisor.EventConnectionDown, (<-events).Kind)
				require.ErrorIs(t, host.Connect(t.Context()), hypervisor.ErrUnreachable)
				require.Equal(t, 8*time.Second, time.Since(begin), "and from then on calls fail at once")

				require.NoError(t, fault.end(c, "A"))
				require.Equal(t, hypervisor.EventConnectionUp, (<-events).Kind)
				require.NoError(t, host.Connect(t.Context()))
			})
		})
	}
}

func TestStartTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simulated.New(simulated.Options{Hosts: 1, VMsPerHost: 1, StartLatency: 300 * time.Millisecond})
		vm, _ := c.VM("VM1")
		host := c.Host("A")
		require.NoError(t, c.KillVM("VM1"))
		result := make(chan error)
		go func() { result <- host.Start(t.Context(), vm.UUID) }()
		synctest.Wait()
		d, err := host.Domain(t.Context(), vm.UUID)
		require.NoError(t, err)
		require.Equal(t, hypervisor.StatePaused, d.State)
		require.Equal(t, hypervisor.ReasonStartingUp, d.Reason)
		require.ErrorIs(t, host.Start(t.Context(), vm.UUID), hypervisor.ErrAlreadyActive)
		require.NoError(t, <-result)

		// A power cut in the middle: the start must not come true afterwards.
		require.NoError(t, c.KillVM("VM1"))
		go func() { result <- host.Start(t.Context(), vm.UUID) }()
		synctest.Wait()
		require.NoError(t, c.PowerOffHost("A"))
		require.ErrorIs(t, <-result, hypervisor.ErrUnreachable)
		require.NoError(t, c.PowerOnHost("A"))
		<-time.After(time.Second) // of the bubble's clock
		d, err = host.Domain(t.Context(), vm.UUID)
		require.NoError(t, err)
		require.Equal(t, hypervisor.StateShutoff, d.State)
	})
}

func TestDroppedEventsAreLost(t *testing.T) {
	c := simulated.New(simulated.Options{Hosts: 1, VMsPerHost: 2})
	host := c.Host("A")
	events, err := host.Events(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.DropEvents("A", true))
	require.NoError(t, c.KillVM("VM1"))
	require.NoError(t, c.DropEvents("A", false))
	require.NoError(t, c.KillVM("VM2"))
	require.Equal(t, hypervisor.EventConnectionUp, (<-events).Kind)
	require.Equal(t, "VM2", (<-events).Name)
}

func TestThousandHosts(t *testing.T) {
	c := simulated.New(simulated.Options{Hosts: 1000, VMsPerHost: 20})
	require.Len(t, c.VMs(), 20_000)
	site := c.Site()
	var wg sync.WaitGroup
	failures := make(chan error, site.Len())
	for i, h := range site.Hosts() {
		wg.Go(func() {
			vm := fmt.Sprintf("VM%d", i+1)
			if err := c.KillVM(vm); err != nil {
				failures <- err
				return
			}
			v, _ := c.VM(vm)
			if err := h.Start(t.Context(), v.UUID); err != nil {
				failures <- err
			}
			if list, err := h.Domains(t.Context()); err != nil || len(list) != 20 {
				failures <- fmt.Errorf("host %s lists %d: %w", h.Name(), len(list), err)
			}
		})
	}
	wg.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	require.Empty(t, c.TwoCopies())
	require.NoError(t, site.Close())
}

func BenchmarkDomains(b *testing.B) {
	c := simulated.New(simulated.Options{Hosts: 1000, VMsPerHost: 20})
	h := c.Host("A")
	for b.Loop() {
		if _, err := h.Domains(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
