package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
)

func TestBackupReply(t *testing.T) {
	at := time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)
	weekly := contract.Backup{
		Name: "weekly", Description: "12.4 to 13.0", Created: at, Quiesced: true,
		Disks: []contract.BackupDisk{{Target: "vda", Bytes: 20 << 30}, {Target: "vdb", Bytes: 1 << 29}},
	}
	nightly := contract.Backup{Name: "nightly", Created: at.Add(time.Hour), Parent: "weekly", Disks: []contract.BackupDisk{{Target: "vda", Bytes: 3 << 19}}}
	kept := contract.Backup{Name: contract.KeptPrefix + "1-1", Created: at.Add(2 * time.Hour), Kept: true, Disks: []contract.BackupDisk{{Target: "vda"}}}
	const table = `NAME                 MADE                     KIND          SIZE      DISKS    UPON    DESCRIPTION
weekly               2026-11-22 18:00:00 UTC  full, frozen  20.5 GiB  vda,vdb  -       12.4 to 13.0
nightly              2026-11-22 19:00:00 UTC  changes       1.5 MiB   vda      weekly
holdfast-before-1-1  2026-11-22 20:00:00 UTC  kept          -         vda      -
`
	reply := contract.BackupReply{In: "nfs", Backups: []contract.Backup{weekly, nightly, kept}, Took: 90 * time.Second, IncidentID: "incident/x"}
	for _, c := range []struct {
		verb    contract.BackupVerb
		dryRun  bool
		already bool
		want    string
	}{
		{contract.BackupList, false, false, table},
		{contract.BackupCreate, false, false, "VM1: backup weekly in nfs made in 1m30s\n"},
		{contract.BackupCreate, false, true, "VM1 has backup weekly in nfs already\n"},
		{contract.BackupCreate, true, false, "would create backup weekly of VM1 in nfs\n"},
		{contract.BackupCheck, false, false, "VM1: backup weekly in nfs is as it was written; read in 1m30s\n"},
		{contract.BackupRestore, false, false, "incident/x\n"},
		{contract.BackupRestore, true, false, "would restore backup weekly of VM1 in nfs\n" + table},
		{contract.BackupDelete, false, false, "VM1: backup weekly in nfs deleted\n"},
	} {
		req := contract.BackupRequest{BackupInput: contract.BackupInput{VM: fault.VM{Name: "VM1"}, Host: "A", Verb: c.verb, Name: "weekly"}}
		reply.Already = c.already
		var b bytes.Buffer
		backupReply(&b, req, reply, c.dryRun)
		require.Equal(t, c.want, b.String(), c.verb)
	}
	one, err := onlyBackup(reply, contract.BackupRequest{BackupInput: contract.BackupInput{Name: "nightly"}})
	require.NoError(t, err)
	require.Equal(t, []contract.Backup{nightly}, one)
	_, err = onlyBackup(reply, contract.BackupRequest{BackupInput: contract.BackupInput{VM: fault.VM{Name: "VM1"}, Name: "gone"}})
	require.EqualError(t, err, `VM1 has no backup "gone" in nfs: `+"`holdfast backup list VM1` shows what there is")
}

// What puts a VM back wants a reason, and what does nothing has nothing to follow.
func TestPutBackIsUsedRight(t *testing.T) {
	for _, kind := range []string{"snapshot", "backup"} {
		_, errs, code := holdfast(t, kind, "restore", "VM1", "x")
		require.Equal(t, exitUsage, code)
		require.Contains(t, errs, "say why, with --reason")
		_, errs, code = holdfast(t, kind, "restore", "VM1", "x", "--reason", "y", "--dry-run", "--watch")
		require.Equal(t, exitUsage, code)
		require.Contains(t, errs, "give one of them")
		_, errs, code = holdfast(t, kind, "restore", "VM1", "--reason", "y")
		require.Equal(t, exitUsage, code)
		require.Contains(t, errs, "wants")
	}
}
