package activities_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/internal/ladder"
)

// backups is VM1 on A of a site of two hosts, and what can be asked about it.
type backups struct {
	t  *testing.T
	c  *simulated.Cluster
	a  *activities.Activities
	vm fault.VM
}

func backedUp(t *testing.T, change func(*activities.Options)) backups {
	c := simulated.New(simulated.Options{Site: site, Hosts: 2, VMsPerHost: 1})
	sim, _ := c.VM("VM1")
	a := of(t, c, func(o *activities.Options) {
		o.BackupsTo = func(map[string]string) string { return simulated.BackupFolder }
		if change != nil {
			change(o)
		}
	})
	return backups{t, c, a, fault.VM{UUID: sim.UUID, Name: "VM1"}}
}

func (b backups) ask(verb contract.BackupVerb, name string, change ...func(*contract.BackupInput)) (contract.BackupReply, error) {
	in := contract.BackupInput{VM: b.vm, Host: "A", Verb: verb, Name: name}
	for _, f := range change {
		f(&in)
	}
	return b.a.Backup(b.t.Context(), in)
}

func (b backups) made(name string) contract.BackupReply {
	b.t.Helper()
	out, err := b.ask(contract.BackupCreate, name)
	require.NoError(b.t, err)
	return out
}

func (b backups) restore(name, keep string, change ...func(*contract.RestoreBackupInput)) (contract.RestoreBackupResult, error) {
	in := contract.RestoreBackupInput{VM: b.vm, Host: "A", BackupRef: contract.BackupRef{In: simulated.BackupFolder, Name: name}, Keep: keep}
	for _, f := range change {
		f(&in)
	}
	return b.a.RestoreBackup(b.t.Context(), in)
}

// refusedAs says what type of error an activity has ended with.
func refusedAs(t *testing.T, err error, kind, text string) {
	t.Helper()
	var app *temporal.ApplicationError
	require.ErrorAs(t, err, &app)
	require.Equal(t, kind, app.Type(), err)
	require.ErrorContains(t, err, text)
}

func TestWhereBackupsAre(t *testing.T) {
	b := backedUp(t, func(o *activities.Options) {
		o.BackupsTo = func(labels map[string]string) string {
			return map[string]string{"db": simulated.PoolName, "lost": "gone"}[labels["tier"]]
		}
	})
	label := func(changes ...string) {
		_, err := b.a.Annotate(t.Context(), contract.AnnotateInput{VM: b.vm, Changes: changes})
		require.NoError(t, err)
	}
	_, err := b.ask(contract.BackupList, "")
	refusedAs(t, err, contract.ErrTypeBadInput, "set backups.to, there or in its class")
	label("tier=db")
	out, err := b.ask(contract.BackupList, "")
	require.NoError(t, err)
	require.Equal(t, simulated.PoolName, out.In)
	out, err = b.ask(contract.BackupList, "", func(in *contract.BackupInput) { in.In = simulated.BackupFolder })
	require.NoError(t, err)
	require.Equal(t, simulated.BackupFolder, out.In)
	label("tier=lost")
	_, err = b.ask(contract.BackupCreate, "one")
	refusedAs(t, err, contract.ErrTypeStepFailed, "backups.to in the site file says where")
	none := of(t, b.c, nil)
	_, err = none.Backup(t.Context(), contract.BackupInput{VM: b.vm, Host: "A", Verb: contract.BackupList})
	refusedAs(t, err, contract.ErrTypeBadInput, "set backups.to")
}

func TestMakeABackup(t *testing.T) {
	b := backedUp(t, nil)
	out := b.made("one")
	require.Empty(t, out.Note)
	require.True(t, out.Backups[0].Quiesced)
	require.NotEmpty(t, out.Backups[0].Disks[0].SHA256)
	_, err := b.ask(contract.BackupCreate, "one")
	refusedAs(t, err, contract.ErrTypeStepFailed, `VM1 has a backup "one" already: choose another name`)

	described := func(in *contract.BackupInput) { in.Description = "before the upgrade" }
	_, err = b.ask(contract.BackupCreate, "two", described)
	require.NoError(t, err)
	out, err = b.ask(contract.BackupCreate, "two", described)
	require.NoError(t, err)
	require.True(t, out.Already)

	require.NoError(t, b.c.StopAgent("VM1"))
	out = b.made("three")
	require.Contains(t, out.Note, "as after a power cut")
	require.False(t, out.Backups[2].Quiesced)
	require.Equal(t, "two", out.Backups[2].Parent)
	require.NoError(t, b.c.KillVM("VM1"))
	out = b.made("four")
	require.Contains(t, out.Note, "it is a full one: ")
	require.Empty(t, out.Backups[3].Parent)
	_, err = b.ask(contract.BackupDelete, "one")
	refusedAs(t, err, contract.ErrTypeStepFailed, `"two"`)
	out, err = b.ask(contract.BackupDelete, "four")
	require.NoError(t, err)
	require.Len(t, out.Backups, 3)
	require.NoError(t, b.c.FailBackups("VM1", 1))
	_, err = b.ask(contract.BackupCreate, "five")
	refusedAs(t, err, contract.ErrTypeStepFailed, "no space left")
	_, err = b.ask("burn", "one")
	refusedAs(t, err, contract.ErrTypeBadInput, "burn")
	require.NoError(t, b.c.KillLibvirtd("A"))
	_, err = b.ask(contract.BackupList, "")
	refusedAs(t, err, contract.ErrTypeUnreachable, "host A")
}

// A worker that died may have made it: nobody else has that name in hand.
func TestABackupThatADeadWorkerMade(t *testing.T) {
	b := backedUp(t, nil)
	b.made("one")
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivity(b.a)
	env.SetHeartbeatDetails("making one")
	in := contract.BackupInput{VM: b.vm, Host: "A", Verb: contract.BackupCreate, Name: "one"}
	value, err := env.ExecuteActivity(b.a.Backup, in)
	require.NoError(t, err)
	var out contract.BackupReply
	require.NoError(t, value.Get(&out))
	require.True(t, out.Already)
	require.Len(t, out.Backups, 1)
	env.SetHeartbeatDetails("making two")
	_, err = env.ExecuteActivity(b.a.Backup, in)
	refusedAs(t, err, contract.ErrTypeStepFailed, "already")
}

// The disks of a VM that its host calls shut off may be in use on another host.
func TestABackupOfAVMThatMayRunElsewhere(t *testing.T) {
	b := backedUp(t, nil)
	require.NoError(t, b.c.ShutdownVM("VM1"))
	require.NoError(t, b.c.CutHost("B"))
	_, err := b.ask(contract.BackupCreate, "one")
	refusedAs(t, err, contract.ErrTypeTwoCopies, "VM1 is shut off on A, and its disks may be written to all the same: B may be running it and cannot be asked")
	require.NoError(t, b.c.HealHost("B"))
	b.made("one")
	require.NoError(t, b.c.DefineVM("VM1", "B"))
	require.NoError(t, b.c.Host("B").Start(t.Context(), b.vm.UUID))
	_, err = b.ask(contract.BackupCreate, "two")
	refusedAs(t, err, contract.ErrTypeTwoCopies, "it is active on B")
}

// startedMeanwhile is a host on which somebody starts the VM while it is copied.
type startedMeanwhile struct{ hypervisor.Host }

func (s startedMeanwhile) CreateBackup(ctx context.Context, uuid string, o hypervisor.BackupOptions) (hypervisor.Backup, error) {
	out, err := s.Host.CreateBackup(ctx, uuid, o)
	if err == nil {
		err = s.Start(ctx, uuid)
	}
	return out, err
}

func TestABackupOfAVMThatIsStartedMeanwhile(t *testing.T) {
	b := backedUp(t, nil)
	require.NoError(t, b.c.ShutdownVM("VM1"))
	hosts, err := hypervisor.NewSite(startedMeanwhile{b.c.Host("A")}, b.c.Host("B"))
	require.NoError(t, err)
	plain := b.a
	b.a = of(t, b.c, func(o *activities.Options) {
		o.Hosts, o.BackupsTo = hosts, func(map[string]string) string { return simulated.BackupFolder }
	})
	_, err = b.ask(contract.BackupCreate, "one")
	refusedAs(t, err, contract.ErrTypeStepFailed, "it was started while its disks were copied; that copy was of no use and is gone")
	b.a = plain
	out, err := b.ask(contract.BackupList, "")
	require.NoError(t, err)
	require.Empty(t, out.Backups)
}

func TestRestoreABackup(t *testing.T) {
	b := backedUp(t, nil)
	require.NoError(t, b.c.MarkDisk("VM1", 1))
	b.made("one")
	require.NoError(t, b.c.MarkDisk("VM1", 2))
	marked := func(want byte) {
		t.Helper()
		mark, err := b.c.DiskMark("VM1")
		require.NoError(t, err)
		require.Equal(t, want, mark)
	}
	_, err := b.restore("one", "kept")
	refusedAs(t, err, contract.ErrTypeStepFailed, "VM1 is in the way: A: running (booted)")
	require.NoError(t, b.c.DestroyVM("VM1"))
	require.NoError(t, b.c.CutHost("B"))
	_, err = b.restore("one", "kept")
	refusedAs(t, err, contract.ErrTypeTwoCopies, "B may be running it and cannot be asked")
	require.NoError(t, b.c.HealHost("B"))
	_, err = b.restore("none", "kept")
	refusedAs(t, err, contract.ErrTypeStepFailed, "no such backup")
	out, err := b.restore("none", "kept", func(in *contract.RestoreBackupInput) { in.IfThere = true })
	require.NoError(t, err)
	require.True(t, out.Nothing)
	marked(2)

	out, err = b.restore("one", "kept")
	require.NoError(t, err)
	require.False(t, out.Nothing)
	require.NotEmpty(t, out.Proofs)
	marked(1)
	require.NoError(t, b.c.MarkDisk("VM1", 3))
	_, err = b.restore("one", "kept")
	require.NoError(t, err, "twice is once")
	marked(3)
	_, err = b.restore("kept", "tried")
	require.NoError(t, err)
	marked(2)
	require.NoError(t, b.c.DamageBackups("VM1"))
	_, err = b.restore("one", "again")
	refusedAs(t, err, contract.ErrTypeStepFailed, "damaged")
	marked(2)
}

// What a restore has kept may be in use on a host that the one which deletes it
// knows nothing of.
func TestDeleteWhatWasKept(t *testing.T) {
	b := backedUp(t, nil)
	b.made("one")
	require.NoError(t, b.c.DestroyVM("VM1"))
	_, err := b.restore("one", "kept")
	require.NoError(t, err)
	remove := func(name, host string) (contract.BackupReply, error) {
		return b.ask(contract.BackupDelete, name, func(in *contract.BackupInput) { in.In, in.Host = simulated.BackupFolder, host })
	}
	_, err = remove("kept", "B")
	refusedAs(t, err, contract.ErrTypeStepFailed, "host A, which has it, knows whether it uses them: delete it there")
	require.NoError(t, b.c.CutHost("A"))
	_, err = remove("kept", "B")
	refusedAs(t, err, contract.ErrTypeTwoCopies, "A may be running it and cannot be asked")
	require.NoError(t, b.c.HealHost("A"))
	require.NoError(t, b.c.Host("A").Start(t.Context(), b.vm.UUID))
	_, err = remove("kept", "B")
	refusedAs(t, err, contract.ErrTypeTwoCopies, "it is active on A")
	_, err = remove("one", "B")
	require.NoError(t, err, "the copies of a backup are no domain's files")
	require.NoError(t, b.c.DestroyVM("VM1"))
	require.NoError(t, b.c.CutHost("B"))
	_, err = remove("kept", "A")
	refusedAs(t, err, contract.ErrTypeTwoCopies, "B may be running it and cannot be asked")
	require.NoError(t, b.c.HealHost("B"))
	_, err = remove("kept", "A")
	require.NoError(t, err)
	_, err = remove("kept", "A")
	refusedAs(t, err, contract.ErrTypeStepFailed, "no such backup")
}

func TestStockOfBackups(t *testing.T) {
	b := backedUp(t, nil)
	stock := func(change func(*contract.StockInput)) (ladder.Stock, error) {
		in := contract.StockInput{VM: b.vm, Host: "A"}
		if change != nil {
			change(&in)
		}
		return b.a.Stock(t.Context(), in)
	}
	none, err := stock(nil)
	require.NoError(t, err)
	require.Equal(t, "there is no backup of it in "+simulated.BackupFolder+" from before it failed", none.BackupWhy)
	b.made("one")
	two := b.made("two").Backups[1]
	require.NoError(t, b.c.DestroyVM("VM1"))
	_, err = b.restore("one", "kept")
	require.NoError(t, err)

	newest, err := stock(nil)
	require.NoError(t, err)
	require.Equal(t, "two", newest.Backup, "what was kept is none to put it back to by itself")
	require.Equal(t, simulated.BackupFolder, newest.BackupIn)
	require.WithinDuration(t, two.Created, newest.BackupAt, 0)
	require.Empty(t, newest.BackupWhy)
	earlier, err := stock(func(in *contract.StockInput) { in.Before = two.Created.Add(-time.Millisecond) })
	require.NoError(t, err)
	require.NotEqual(t, "two", earlier.Backup, "it was made after the fault")
	wanted, err := stock(func(in *contract.StockInput) { in.Backup = &contract.BackupRef{Name: "kept"} })
	require.NoError(t, err)
	require.Equal(t, "kept", wanted.Backup, "a person wants it")
	wanted, err = stock(func(in *contract.StockInput) { in.Backup = &contract.BackupRef{In: simulated.PoolName, Name: "one"} })
	require.NoError(t, err)
	require.Equal(t, `VM1 has no backup "one" in images`, wanted.BackupWhy)

	// Whatever is wrong with the place is said, and does not stand in the way of a snapshot.
	_, err = b.a.Snapshot(t.Context(), contract.SnapshotInput{VM: b.vm, Host: "A", Verb: contract.SnapshotCreate, Name: "nightly"})
	require.NoError(t, err)
	lost, err := stock(func(in *contract.StockInput) { in.Backup = &contract.BackupRef{In: "gone", Name: "one"} })
	require.NoError(t, err)
	require.Contains(t, lost.BackupWhy, "no such storage pool")
	require.Equal(t, "nightly", lost.Snapshot)
	nowhere, err := of(t, b.c, nil).Stock(t.Context(), contract.StockInput{VM: b.vm, Host: "A"})
	require.NoError(t, err)
	require.Contains(t, nowhere.BackupWhy, "the site file says no place for backups of it")
	require.NoError(t, b.c.KillLibvirtd("A"))
	_, err = stock(nil)
	refusedAs(t, err, contract.ErrTypeUnreachable, "host A")
}
