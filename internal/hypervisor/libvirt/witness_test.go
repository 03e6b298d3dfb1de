//go:build cgo

package libvirt

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

func TestTestDriverWitness(t *testing.T) {
	h := newHost(t, Options{URI: "test:///default"})
	uuid := testDomain(t, h)
	job, err := h.Job(t.Context(), uuid)
	require.NoError(t, err)
	require.Equal(t, hypervisor.MonitorOK, job.Monitor)
	blocks, err := h.Blocks(t.Context(), uuid)
	require.NoError(t, err)
	require.NotEmpty(t, blocks)
	require.Equal(t, "vda", blocks[0].Device)
	require.NoError(t, h.Destroy(t.Context(), uuid))
	_, err = h.Job(t.Context(), uuid)
	require.ErrorIs(t, err, hypervisor.ErrNotActive)
	require.ErrorContains(t, h.Dump(t.Context(), uuid, "x"), "not the whole path")
	require.NoError(t, h.Start(t.Context(), uuid))
	require.NoError(t, h.Close())
	waitClosed(t)
}

func TestParseBlocks(t *testing.T) {
	blocks, err := parseBlocks(`<domain><devices>
	  <disk type='file' device='disk'>
	    <driver name='qemu' type='qcow2'/><source file='/img/over.qcow2'/>
	    <backingStore type='file'><format type='qcow2'/><source file='/img/mid.qcow2'/>
	      <backingStore type='block'><format type='raw'/><source dev='/dev/vg/base'/><backingStore/></backingStore>
	    </backingStore>
	    <mirror type='file' job='copy' ready='yes'><source file='/img/new.qcow2'/></mirror>
	    <target dev='vda' bus='virtio'/>
	  </disk>
	  <disk type='network'><driver type='raw'/><auth username='u'><secret type='ceph' uuid='x'/></auth>
	    <source protocol='rbd' name='pool/img'><host name='mon'/></source><target dev='vdb'/></disk>
	  <disk type='volume'><source pool='p' volume='v'/><target dev='vdc'/></disk>
	  <disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk>
	</devices></domain>`)
	require.NoError(t, err)
	require.Equal(t, []hypervisor.Block{
		{
			Device: "vda", Kind: "disk", Source: "/img/over.qcow2", Format: "qcow2", Job: "copy, ready",
			Backing: []hypervisor.Backing{{Source: "/img/mid.qcow2", Format: "qcow2"}, {Source: "/dev/vg/base", Format: "raw"}},
		},
		{Device: "vdb", Kind: "disk", Source: "rbd:pool/img", Format: "raw"},
		{Device: "vdc", Kind: "disk", Source: "p/v"},
		{Device: "sda", Kind: "cdrom", ReadOnly: true},
	}, blocks)
	_, err = parseBlocks("<domain><secret>hunter2</domain>")
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestJobUnits(t *testing.T) {
	var job hypervisor.Job
	fillJob(&job, &lv.DomainJobInfo{Type: lv.DOMAIN_JOB_NONE, TimeElapsed: 5})
	require.Zero(t, job)
	fillJob(&job, &lv.DomainJobInfo{Type: lv.DOMAIN_JOB_COMPLETED, Operation: lv.DOMAIN_JOB_OPERATION_BACKUP})
	require.Zero(t, job, "it is over")
	fillJob(&job, &lv.DomainJobInfo{
		Type: lv.DOMAIN_JOB_UNBOUNDED, Operation: lv.DOMAIN_JOB_OPERATION_MIGRATION_OUT, TimeElapsed: 1500,
		DataTotalSet: true, DataTotal: 10, DataProcessed: 4, DataRemaining: 6,
	})
	require.Equal(t, hypervisor.Job{Doing: "outgoing migration", Elapsed: 1500 * time.Millisecond, Total: 10, Processed: 4, Remaining: 6}, job)
	job = hypervisor.Job{}
	fillJob(&job, &lv.DomainJobInfo{Type: lv.DOMAIN_JOB_BOUNDED, Operation: 99, DiskTotal: 10, DiskProcessed: 3})
	require.Equal(t, hypervisor.Job{Doing: "unknown", Total: 10, Processed: 3, Remaining: 7}, job)
}

func TestExecStatus(t *testing.T) {
	text := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	exit, err := execStatus{Exited: true, ExitCode: 3, Out: text("out"), Err: text("err")}.exit()
	require.NoError(t, err)
	require.Equal(t, hypervisor.GuestExit{Code: 3, Stdout: []byte("out"), Stderr: []byte("err")}, exit)
	exit, err = execStatus{Exited: true, Signal: 9}.exit()
	require.NoError(t, err)
	require.Equal(t, hypervisor.GuestExit{Code: 137}, exit)
	for _, n := range []int{hypervisor.MaxGuestOutput + 1, 3 * hypervisor.MaxGuestOutput} {
		exit, err = execStatus{Out: text(strings.Repeat("x", n))}.exit()
		require.NoError(t, err)
		require.True(t, exit.Truncated)
		require.Len(t, exit.Stdout, hypervisor.MaxGuestOutput)
	}
	exit, err = execStatus{Out: text(strings.Repeat("x", hypervisor.MaxGuestOutput))}.exit()
	require.NoError(t, err)
	require.False(t, exit.Truncated)
	_, err = execStatus{Out: "%"}.exit()
	require.Error(t, err)
}
