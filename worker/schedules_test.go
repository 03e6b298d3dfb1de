package worker_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/starter"
	"holdfast/test/rig"
	"holdfast/worker"
)

// A worker makes the schedules of its site file when Temporal comes, and the next
// one, whose file says no more of them, removes them.
func TestServiceKeepsSchedules(t *testing.T) {
	temporal := rig.Temporal(t)
	temporal.Kill()
	quiet := slog.New(slog.DiscardHandler)
	c, err := client.NewLazyClient(client.Options{HostPort: temporal.Address, Logger: log.NewStructuredLogger(quiet)})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	hosts := simulated.New(simulated.Options{Site: rig.Site, Hosts: 1, VMsPerHost: 1}).Site()
	acts, err := activities.New(activities.Options{Site: rig.Site, Hosts: hosts, Policy: rig.Policy()})
	require.NoError(t, err)
	with := func(want ...contract.Schedule) *worker.Service {
		s, err := worker.NewService(worker.ServiceOptions{
			Options: worker.Options{Client: c, Site: rig.Site, Activities: acts, StopTimeout: time.Second}, Schedules: want,
			Hosts: hosts, Namespace: client.DefaultNamespace, Check: 20 * time.Millisecond, Logger: quiet,
		})
		require.NoError(t, err)
		return s
	}
	has := func(n int) {
		t.Helper()
		rig.Eventually(t, fmt.Sprint(n, " schedules"), func() error {
			list, err := starter.New(c).Schedules(t.Context(), rig.Site)
			if err == nil && len(list) != n {
				err = fmt.Errorf("%+v", list)
			}
			return err
		})
	}
	id := contract.ScheduleID(rig.Site, "")
	stop := run(t, with(contract.Schedule{ID: id, Every: time.Hour, Round: contract.RoundInput{Site: rig.Site, Schedule: id, Keep: "1d", AtOnce: 1}}))
	require.NoError(t, temporal.Restart(t.Context()))
	has(1)
	stop()
	stop = run(t, with())
	has(0)
	stop()
}
