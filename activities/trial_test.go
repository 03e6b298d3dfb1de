package activities_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"holdfast/activities"
	"holdfast/internal/annotation"
	"holdfast/internal/contract"
	"holdfast/internal/evidence"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
)

// layered is VM1 of a cluster, with a layer called good.
func layered(t *testing.T, o simulated.Options) *simulated.Cluster {
	t.Helper()
	o.Site, o.Hosts, o.VMsPerHost = site, 1, 1
	c := simulated.New(o)
	v, _ := c.VM("VM1")
	_, err := c.Host("A").CreateSnapshot(t.Context(), v.UUID, hypervisor.SnapshotOptions{Name: "good"})
	require.NoError(t, err)
	return c
}

// expectAgent annotates VM1.
func expectAgent(t *testing.T, c *simulated.Cluster) {
	t.Helper()
	element, err := annotation.Element(annotation.Annotation{AgentExpected: true})
	require.NoError(t, err)
	v, _ := c.VM("VM1")
	require.NoError(t, c.Host("A").Annotate(t.Context(), v.UUID, element))
}

// tried runs Trial for VM1 on A, and makes sure that nothing is left of it.
func tried(t *testing.T, c *simulated.Cluster, a *activities.Activities, in contract.TrialInput) (contract.TrialResult, error) {
	t.Helper()
	v, _ := c.VM("VM1")
	in.VM, in.Host = fault.VM{UUID: v.UUID, Name: "VM1"}, "A"
	out, err := a.Trial(t.Context(), in)
	noTrials(t, c)
	if err == nil {
		require.NotEmpty(t, out.Why)
		require.False(t, out.At.IsZero())
	}
	return out, err
}

func noTrials(t *testing.T, c *simulated.Cluster) {
	t.Helper()
	left, err := c.Trials("A")
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestTrialByAgent(t *testing.T) {
	c := layered(t, simulated.Options{StartLatency: 20 * time.Millisecond})
	expectAgent(t, c)
	out, err := tried(t, c, of(t, c, nil), contract.TrialInput{Snapshot: "good"})
	require.NoError(t, err)
	require.True(t, out.Booted)
	require.Equal(t, contract.TrialByAgent, out.By)
	require.Empty(t, c.TwoCopies())
	starts, err := c.Starts("VM1")
	require.NoError(t, err)
	require.Zero(t, starts, "it is the copy that was started")
}

func TestTrialThatDoesNotBoot(t *testing.T) {
	c := layered(t, simulated.Options{})
	require.NoError(t, c.CorruptSnapshot("VM1", "good"))
	store, err := evidence.Open(evidence.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	a := of(t, c, func(o *activities.Options) { o.Evidence = store })
	in := contract.TrialInput{Snapshot: "good", Within: briefly, StableFor: time.Millisecond}
	out, err := tried(t, c, a, in)
	require.NoError(t, err)
	require.False(t, out.Booted)
	require.Contains(t, out.Why, "read less than 256 KiB")
	require.NotNil(t, out.Screen)
	require.Empty(t, out.Screen.Error)
	_, err = os.Stat(out.Screen.Path)
	require.NoError(t, err)
	require.Equal(t, "trial/s/VM1/snapshot good", out.EvidenceID)

	expectAgent(t, c)
	out, err = tried(t, c, a, in)
	require.NoError(t, err)
	require.False(t, out.Booted)
	require.Contains(t, out.Why, "its guest agent did not answer within 400ms: ")
	require.Empty(t, out.By)
}

// Of a VM that nobody knows to have an agent less is asked.
func TestTrialWithoutAgent(t *testing.T) {
	c := layered(t, simulated.Options{NoAgents: true})
	in := contract.TrialInput{Snapshot: "good", Within: patience, StableFor: 10 * time.Millisecond}
	out, err := tried(t, c, of(t, c, nil), in)
	require.NoError(t, err)
	require.True(t, out.Booted)
	require.Equal(t, contract.TrialByRunning, out.By)
	require.GreaterOrEqual(t, out.Took, 10*time.Millisecond)

	expectAgent(t, c)
	in.Within = briefly
	out, err = tried(t, c, of(t, c, nil), in)
	require.NoError(t, err)
	require.False(t, out.Booted, "it has to have one")
}

func TestTrialOfBackup(t *testing.T) {
	c := layered(t, simulated.Options{})
	v, _ := c.VM("VM1")
	_, err := c.Host("A").CreateBackup(t.Context(), v.UUID, hypervisor.BackupOptions{Where: simulated.PoolName, Name: "one"})
	require.NoError(t, err)
	in := contract.TrialInput{Backup: &contract.BackupRef{In: simulated.PoolName, Name: "one"}, Within: patience}
	out, err := tried(t, c, of(t, c, nil), in)
	require.NoError(t, err)
	require.True(t, out.Booted)
	require.NoError(t, c.DamageBackups("VM1"))
	in.Within = briefly
	out, err = tried(t, c, of(t, c, nil), in)
	require.NoError(t, err)
	require.False(t, out.Booted)
	in.Backup.Name = "two"
	_, err = tried(t, c, of(t, c, nil), in)
	requireType(t, err, contract.ErrTypeStepFailed)
}

func requireType(t *testing.T, err error, kind string) {
	t.Helper()
	var app *temporal.ApplicationError
	require.ErrorAs(t, err, &app)
	require.Equal(t, kind, app.Type(), err)
}

// What cannot be tried is an error, and no finding.
func TestTrialThatCannotBe(t *testing.T) {
	c := layered(t, simulated.Options{})
	a := of(t, c, nil)
	v, _ := c.VM("VM1")
	require.NoError(t, c.DestroyVM("VM1"))
	_, err := c.Host("A").CreateSnapshot(t.Context(), v.UUID, hypervisor.SnapshotOptions{Name: "inside"})
	require.NoError(t, err)
	for name, says := range map[string]string{"none": `has no snapshot "none" on A`, "inside": "inside of an image"} {
		_, err = tried(t, c, a, contract.TrialInput{Snapshot: name})
		requireType(t, err, contract.ErrTypeStepFailed)
		require.ErrorContains(t, err, says)
	}
	_, err = tried(t, c, a, contract.TrialInput{})
	requireType(t, err, contract.ErrTypeBadInput)
	require.NoError(t, c.SetNode("A", simulated.Node{CPUs: 1, MemoryTotal: 1 << 30, MemoryUsed: 50}))
	_, err = tried(t, c, a, contract.TrialInput{Snapshot: "good"})
	requireType(t, err, contract.ErrTypeStepFailed)
	require.ErrorContains(t, err, "512 MiB free")
}

// waitTrial is the UUID of the copy of VM1, once there is one.
func waitTrial(t *testing.T, c *simulated.Cluster) string {
	t.Helper()
	v, _ := c.VM("VM1")
	var made string
	require.Eventually(t, func() bool {
		var err error
		made, err = c.TrialOf(v.UUID)
		return err == nil && made != ""
	}, patience, time.Millisecond, "no copy was made")
	return made
}

// One that is gone is tried again: it may have been its host's doing.
func TestTrialThatIsGone(t *testing.T) {
	for name, times := range map[string]int{"once": 1, "twice": 2} {
		t.Run(name, func(t *testing.T) {
			c := layered(t, simulated.Options{NoAgents: true})
			done := make(chan error, 1)
			go func() {
				var err error
				last := ""
				for n := 0; n < times && err == nil; n++ {
					made := waitTrial(t, c)
					for made == last {
						made = waitTrial(t, c)
					}
					last = made
					err = c.Host("A").Destroy(context.Background(), made)
				}
				done <- err
			}()
			out, err := tried(t, c, of(t, c, nil), contract.TrialInput{Snapshot: "good", Within: patience, StableFor: time.Second})
			require.NoError(t, err)
			require.NoError(t, <-done)
			require.Equal(t, times == 1, out.Booted, out.Why)
		})
	}
}

func TestTrialIsCancelled(t *testing.T) {
	c := layered(t, simulated.Options{NoAgents: true})
	v, _ := c.VM("VM1")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := of(t, c, nil).Trial(ctx, contract.TrialInput{VM: fault.VM{UUID: v.UUID}, Host: "A", Snapshot: "good", StableFor: time.Hour, Within: 2 * time.Hour})
		done <- err
	}()
	waitTrial(t, c)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	noTrials(t, c)
}

// A host that is lost takes the copy with it, which says nothing about that.
func TestTrialOnHostThatIsLost(t *testing.T) {
	c := layered(t, simulated.Options{NoAgents: true})
	v, _ := c.VM("VM1")
	done := make(chan error, 1)
	go func() {
		_, err := of(t, c, nil).Trial(t.Context(), contract.TrialInput{VM: fault.VM{UUID: v.UUID}, Host: "A", Snapshot: "good", StableFor: time.Hour, Within: 2 * time.Hour})
		done <- err
	}()
	waitTrial(t, c)
	require.NoError(t, c.CutHost("A"))
	err := <-done
	requireType(t, err, contract.ErrTypeUnreachable)
	require.False(t, errors.Is(err, context.Canceled))
	require.NoError(t, c.HealHost("A"))
	out, err := tried(t, c, of(t, c, nil), contract.TrialInput{Snapshot: "good", Within: patience, StableFor: time.Millisecond})
	require.NoError(t, err)
	require.True(t, out.Booted)
}
