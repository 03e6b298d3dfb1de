//go:build cgo

package libvirt

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

func TestWords(t *testing.T) {
	for _, c := range []struct {
		state  lv.DomainState
		reason int
		words  [2]string
	}{
		{lv.DOMAIN_SHUTOFF, int(lv.DOMAIN_SHUTOFF_CRASHED), [2]string{"shut off", "crashed"}},
		{lv.DOMAIN_SHUTOFF, int(lv.DOMAIN_SHUTOFF_FROM_SNAPSHOT), [2]string{"shut off", "from snapshot"}},
		{lv.DOMAIN_RUNNING, int(lv.DOMAIN_RUNNING_UNPAUSED), [2]string{"running", "unpaused"}},
		{lv.DOMAIN_PAUSED, int(lv.DOMAIN_PAUSED_IOERROR), [2]string{"paused", "I/O error"}},
		{lv.DOMAIN_CRASHED, int(lv.DOMAIN_CRASHED_PANICKED), [2]string{"crashed", "panicked"}},
		{lv.DOMAIN_RUNNING, 99, [2]string{"running", "unknown"}},
		{lv.DOMAIN_RUNNING, -1, [2]string{"running", "unknown"}},
		{lv.DOMAIN_BLOCKED, 0, [2]string{"blocked", "unknown"}},
		{lv.DomainState(99), 1, [2]string{"no state", "unknown"}},
	} {
		state, reason := stateAndReason(c.state, c.reason)
		require.Equal(t, c.words, [2]string{string(state), string(reason)})
	}
}

func TestErrorsBecomeSentinels(t *testing.T) {
	h := newHost(t, Options{URI: "test:///default"})
	for _, c := range []struct {
		err   lv.Error
		alive bool
		want  error
	}{
		{lv.Error{Code: lv.ERR_NO_DOMAIN, Domain: lv.FROM_QEMU}, true, hypervisor.ErrNotFound},
		{lv.Error{Code: lv.ERR_AUTH_FAILED, Domain: lv.FROM_RPC}, false, hypervisor.ErrAccess},
		{lv.Error{Code: lv.ERR_AGENT_UNRESPONSIVE, Domain: lv.FROM_QEMU}, true, hypervisor.ErrNoAgent},
		{lv.Error{Code: lv.ERR_OPERATION_TIMEOUT, Domain: lv.FROM_QEMU}, true, hypervisor.ErrTimeout},
		// "connection closed due to keepalive timeout"
		{lv.Error{Code: lv.ERR_INTERNAL_ERROR, Domain: lv.FROM_RPC}, false, hypervisor.ErrUnreachable},
		{lv.Error{Code: lv.ERR_SYSTEM_ERROR, Domain: lv.FROM_RPC}, false, hypervisor.ErrUnreachable},
		// The host's own daemons do not reach each other: we do reach the host.
		{lv.Error{Code: lv.ERR_SYSTEM_ERROR, Domain: lv.FROM_RPC}, true, hypervisor.ErrNoResource},
		// "Cannot access storage file"
		{lv.Error{Code: lv.ERR_SYSTEM_ERROR, Domain: lv.FROM_STORAGE}, true, hypervisor.ErrNoResource},
	} {
		err := h.explain("do it", c.err, c.alive)
		require.ErrorIs(t, err, c.want)
		for _, other := range []error{hypervisor.ErrUnreachable, hypervisor.ErrNoResource, hypervisor.ErrTimeout} {
			if !errors.Is(c.want, other) {
				require.NotErrorIs(t, err, other)
			}
		}
	}
	err := h.explain("start domain X", lv.Error{Code: lv.ERR_INTERNAL_ERROR, Domain: lv.FROM_QEMU, Message: "process exited\nand its log"}, true)
	require.EqualError(t, err, "start domain X on A: process exited (libvirt error 1 of part 10)")
}

func TestNodeUnits(t *testing.T) {
	busy, idle := nodeTime(&lv.NodeCPUStats{Kernel: 1e9, User: 2e9, Idle: 3e9, Iowait: 4e9, Guest: 9e9})
	require.Equal(t, []time.Duration{3 * time.Second, 7 * time.Second}, []time.Duration{busy, idle})
}

func TestStatsUnits(t *testing.T) {
	r := record{UUID: "u", Name: "VM1", Params: []param{
		{Key: "state.state", Number: 1}, {Key: "state.reason", Number: 1},
		{Key: "cpu.time", Number: 3_180_000_000},
		{Key: "balloon.current", Number: 32768}, {Key: "balloon.maximum", Number: 65536},
		{Key: "balloon.available", Number: 1000}, {Key: "balloon.unused", Number: 500},
		{Key: "vcpu.current", Number: 2}, {Key: "vcpu.maximum", Number: 4},
		{Key: "vcpu.0.time", Number: 1e9}, {Key: "vcpu.0.delay", Number: 1e6}, {Key: "vcpu.0.wait", Number: 5},
		{Key: "vcpu.2.time", Number: 5e8}, {Key: "vcpu.2.delay", Number: 2e6}, // 1 is offline
		{Key: "net.count", Number: 1}, {Key: "net.0.name", Text: "vnet3"}, {Key: "net.0.rx.bytes", Number: 7}, {Key: "net.0.tx.drop", Number: 1},
		{Key: "block.count", Number: 1}, {Key: "block.0.name", Text: "vda"}, {Key: "block.0.capacity", Number: 1 << 20}, {Key: "block.0.physical", Number: 4096},
		{Key: "block.99999999999.name", Text: "nonsense"},
	}}
	s, complete := r.stats(time.Unix(9, 0))
	require.False(t, complete, "QEMU was not asked")
	require.Equal(t, hypervisor.DomainStats{
		UUID: "u", Name: "VM1", State: hypervisor.StateRunning, At: time.Unix(9, 0),
		VCPUs: 2, CPUTime: 3180 * time.Millisecond, VCPUTime: 1500 * time.Millisecond, VCPUDelay: 3 * time.Millisecond,
		MemoryMax: 64 << 20, MemoryCurrent: 32 << 20, MemoryAvailable: 1000 << 10, MemoryUnused: 500 << 10,
		Blocks: []hypervisor.BlockStats{{Device: "vda", Capacity: 1 << 20, Physical: 4096}},
		Nets:   []hypervisor.NetStats{{Device: "vnet3", RxBytes: 7, TxDrops: 1}},
	}, s)
	r.Params = append(r.Params, param{Key: "block.0.rd.reqs", Number: 5}, param{Key: "block.0.rd.times", Number: 1e9})
	s, complete = r.stats(time.Unix(9, 0))
	require.True(t, complete)
	require.Equal(t, time.Second, s.Blocks[0].ReadTime)
}
