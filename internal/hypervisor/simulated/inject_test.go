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
		contract.SimKill, contract.SimPanic, contract.SimShutdown, contract.SimDestroy, contract.SimLose, contract.SimFind,
		contract.SimFailStarts, contract.SimHang, contract.SimUnhang, contract.SimHangGuest, contract.SimUnhangGuest,
		contract.SimMuteAgent, contract.SimUnmuteAgent, contract.SimStopAgent, contract.SimStartAgent,
		contract.SimSkewClock, contract.SimPause, contract.SimResume, contract.SimIOError, contract.SimNoSpace,
		contract.SimMendDisk, contract.SimMemoryFailure, contract.SimWatchdog, contract.SimLoad, contract.SimSteal,
		contract.SimFillMemory, contract.SimSlowDisk, contract.SimDropPackets, contract.SimCalm, contract.SimPowerOff,
		contract.SimPowerOn, contract.SimCut, contract.SimHeal, contract.SimHangLibvirtd, contract.SimKillLibvirtd,
		contract.SimStartLibvirtd, contract.SimLosePool, contract.SimRestorePool, contract.SimFillPool,
		contract.SimLoadHost, contract.SimFillHostMemory, contract.SimCalmHost, contract.SimCorruptDisk,
		contract.SimFailSnapshots, contract.SimFailReverts, contract.SimFailBackups, contract.SimFailRestores, contract.SimDamageBackups,
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

// Each of them says in its own words what fails, and it does.
func TestInjectWhatFails(t *testing.T) {
	for action, words := range map[string]string{
		contract.SimFailSnapshots: "snapshot", contract.SimFailReverts: "revert",
		contract.SimFailBackups: "backup", contract.SimFailRestores: "restore",
	} {
		t.Run(action, func(t *testing.T) {
			ctx := t.Context()
			c, h, vm := site(t, simulated.Options{Hosts: 1, VMsPerHost: 1})
			require.NoError(t, h.Destroy(ctx, vm.UUID))
			do := func(action string) (err error) {
				switch action {
				case contract.SimFailSnapshots:
					_, err = h.CreateSnapshot(ctx, vm.UUID, hypervisor.SnapshotOptions{Name: "one"})
				case contract.SimFailReverts:
					err = h.RevertSnapshot(ctx, vm.UUID, "one")
				case contract.SimFailBackups:
					_, err = h.CreateBackup(ctx, vm.UUID, hypervisor.BackupOptions{Where: simulated.PoolName, Name: "one"})
				case contract.SimFailRestores:
					err = h.RestoreBackup(ctx, vm.UUID, hypervisor.RestoreOptions{Where: simulated.PoolName, Name: "one"})
				}
				return err
			}
			for _, needed := range map[string][]string{
				contract.SimFailReverts: {contract.SimFailSnapshots}, contract.SimFailRestores: {contract.SimFailBackups},
			}[action] {
				require.NoError(t, do(needed))
			}
			for count, want := range map[int]string{-1: "every " + words, 0: "work again", 1: "the next " + words, 3: "the next 3 " + words} {
				done, err := c.Inject(action, "VM1", count)
				require.NoError(t, err)
				require.Contains(t, done, want)
			}
			_, err := c.Inject(action, "VM1", 1)
			require.NoError(t, err)
			require.ErrorIs(t, do(action), hypervisor.ErrNoResource)
			require.NoError(t, do(action))
		})
	}
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

// Whatever can be undone is, and the site is then as it was.
func TestInjectUndo(t *testing.T) {
	type step struct {
		action, target string
		count          int
	}
	for do, undo := range map[step]step{
		{"hang", "VM1", 0}:            {"unhang", "VM1", 0},
		{"hang-guest", "VM1", 0}:      {"unhang-guest", "VM1", 0},
		{"mute-agent", "VM1", 0}:      {"unmute-agent", "VM1", 0},
		{"stop-agent", "VM1", 0}:      {"start-agent", "VM1", 0},
		{"skew-clock", "VM1", 86400}:  {"skew-clock", "VM1", 0},
		{"pause", "VM1", 0}:           {"resume", "VM1", 0},
		{"load", "VM1", 95}:           {"calm", "VM1", 0},
		{"steal", "VM1", 30}:          {"calm", "VM1", 0},
		{"fill-memory", "VM1", 99}:    {"calm", "VM1", 0},
		{"slow-disk", "VM1", 500}:     {"calm", "VM1", 0},
		{"drop-packets", "VM1", 50}:   {"calm", "VM1", 0},
		{"kill-libvirtd", "A", 0}:     {"start-libvirtd", "A", 0},
		{"hang-libvirtd", "A", 0}:     {"start-libvirtd", "A", 0},
		{"lose-pool", "A", 0}:         {"restore-pool", "A", 0},
		{"fill-pool", "A", 97}:        {"calm-host", "A", 0},
		{"load-host", "A", 97}:        {"calm-host", "A", 0},
		{"fill-host-memory", "A", 97}: {"calm-host", "A", 0},
		{"cut", "A", 0}:               {"heal", "A", 0},
		{"fail-starts", "VM1", 3}:     {"fail-starts", "VM1", 0},
		{"memory-failure", "VM1", 0}:  {"calm", "VM1", 0}, // leaves nothing behind
		{"watchdog", "VM1", 0}:        {"calm", "VM1", 0},
	} {
		t.Run(do.action, func(t *testing.T) {
			c := simulated.New(simulated.Options{Hosts: 1, VMsPerHost: 1})
			for _, s := range []step{do, undo, undo} { // mending what is whole is no error
				said, err := c.Inject(s.action, s.target, s.count)
				require.NoError(t, err)
				require.Contains(t, said, s.target)
				require.NotContains(t, said, "%!")
			}
			h, vm := c.Host("A"), c.VMs()[0]
			stats, err := h.Stats(t.Context())
			require.NoError(t, err)
			require.Len(t, stats, 1)
			now, err := h.GuestTime(t.Context(), vm.UUID)
			require.NoError(t, err)
			require.WithinDuration(t, time.Now(), now, time.Hour)
			pools, err := h.Pools(t.Context())
			require.NoError(t, err)
			require.Equal(t, hypervisor.PoolRunning, pools[0].State)
			require.Greater(t, pools[0].Available, pools[0].Capacity/2)
		})
	}
}

func TestInjectDisk(t *testing.T) {
	for action, want := range map[string]hypervisor.DiskError{
		"io-error": {Device: "vda"},
		"no-space": {Device: "vda", NoSpace: true},
	} {
		c := simulated.New(simulated.Options{Hosts: 1, VMsPerHost: 1})
		h, vm := c.Host("A"), c.VMs()[0]
		_, err := c.Inject(action, "VM1", 0)
		require.NoError(t, err)
		failed, err := h.DiskErrors(t.Context(), vm.UUID)
		require.NoError(t, err)
		require.Equal(t, []hypervisor.DiskError{want}, failed)
		for _, undo := range []string{"mend-disk", "resume"} {
			_, err = c.Inject(undo, "VM1", 0)
			require.NoError(t, err)
		}
		d, err := h.Domain(t.Context(), vm.UUID)
		require.NoError(t, err)
		require.Equal(t, hypervisor.StateRunning, d.State)
	}
}
