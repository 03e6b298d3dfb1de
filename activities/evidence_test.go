package activities_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/activities"
	"holdfast/internal/agent"
	"holdfast/internal/contract"
	"holdfast/internal/evidence"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/internal/ladder"
)

const incidentID = "incident/s/VM1/20260102-030405"

// keeper is a store in a folder of the test's.
func keeper(t *testing.T) *evidence.Store {
	t.Helper()
	s, err := evidence.Open(evidence.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// logs is a host whose logs say what they are.
func logs(_ context.Context, host string, kind agent.Log, domain string) ([]byte, error) {
	return []byte(host + " " + string(kind) + " " + domain), nil
}

// witness is who gathers evidence of VM1 on A.
type witness struct {
	*activities.Activities
	store *evidence.Store
	in    contract.EvidenceInput
}

func witnessOf(t *testing.T, c *simulated.Cluster, change func(*activities.Options)) witness {
	t.Helper()
	sim, _ := c.VM("VM1")
	w := witness{store: keeper(t), in: contract.EvidenceInput{
		IncidentID: incidentID, VM: fault.VM{UUID: sim.UUID, Name: "VM1"}, Host: "A", Key: "attempt 1", Before: ladder.RungReset,
	}}
	w.Activities = of(t, c, func(o *activities.Options) {
		o.Evidence, o.Logs = w.store, logs
		if change != nil {
			change(o)
		}
	})
	return w
}

func (w witness) gather(t *testing.T) contract.EvidenceResult {
	t.Helper()
	out, err := w.GatherEvidence(t.Context(), w.in)
	require.NoError(t, err)
	return out
}

// content reads a piece where it is said to be, and checks it.
func content(t *testing.T, set contract.EvidenceSet, name string) []byte {
	t.Helper()
	i := slices.IndexFunc(set.Items, func(i contract.EvidenceItem) bool { return i.Name == name })
	require.GreaterOrEqual(t, i, 0, name)
	item := set.Items[i]
	require.Empty(t, item.Error, name)
	data, err := os.ReadFile(item.Path)
	require.NoError(t, err)
	require.Len(t, data, int(item.Bytes))
	sum := sha256.Sum256(data)
	require.Equal(t, hex.EncodeToString(sum[:]), item.SHA256)
	return data
}

// failed are the pieces that could not be had, and why.
func failed(set contract.EvidenceSet) map[string]string {
	out := map[string]string{}
	for _, i := range set.Items {
		if i.Error != "" {
			out[i.Name] = i.Error
		}
	}
	return out
}

func TestEvidenceIsGathered(t *testing.T) {
	c := oneVM()
	require.NoError(t, c.PanicVM("VM1"))
	w := witnessOf(t, c, func(o *activities.Options) { o.EvidenceURL = "http://worker1:9464" })
	out := w.gather(t)
	require.False(t, out.Already)
	set := out.Set
	require.Empty(t, set.Error)
	require.Equal(t, []any{"attempt 1", ladder.RungReset, "A"}, []any{set.Key, set.Before, set.Host})
	require.NotEmpty(t, set.Worker)
	require.False(t, set.At.IsZero())
	require.Len(t, set.Items, 9)

	_, err := png.Decode(bytes.NewReader(content(t, set, "screenshot.png")))
	require.NoError(t, err)
	require.Contains(t, string(content(t, set, "domain.json")), `"reason": "panicked"`)
	require.Contains(t, string(content(t, set, "job.json")), `"monitor": "ok"`)
	require.Contains(t, string(content(t, set, "blocks.json")), `VM1.qcow2`)
	require.Equal(t, "[]\n", string(content(t, set, "disk-errors.json")))
	require.Contains(t, string(content(t, set, "stats.json")), `"cpuTime"`)
	require.Equal(t, "A qemu VM1", string(content(t, set, "qemu.log")))
	require.Equal(t, "A console VM1", string(content(t, set, "console.log")))
	require.Equal(t, []string{"agent.json"}, keys(failed(set)), "its vCPUs stand still: nobody was asked")
	for _, i := range set.Items {
		if i.Error == "" {
			require.Equal(t, "http://worker1:9464"+evidence.Path+evidence.Folder(incidentID)+"/"+filepath.Base(i.Path), i.URL)
			f, _, err := w.store.Open(evidence.Folder(incidentID), filepath.Base(i.URL))
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
		require.NotContains(t, i.Name, "definition")
	}
	text, err := json.Marshal(out)
	require.NoError(t, err)
	require.Less(t, len(text), 8<<10, "no content in a history")
}

func keys(m map[string]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func TestEvidenceIsGatheredOnce(t *testing.T) {
	c := oneVM()
	var asked atomic.Int32
	w := witnessOf(t, c, func(o *activities.Options) {
		o.Logs = func(ctx context.Context, host string, kind agent.Log, domain string) ([]byte, error) {
			asked.Add(1)
			return logs(ctx, host, kind, domain)
		}
	})
	first := w.gather(t)
	require.NoError(t, c.DestroyVM("VM1"))
	again := w.gather(t)
	require.True(t, again.Already)
	require.Equal(t, first.Set, again.Set)
	require.Equal(t, int32(2), asked.Load())
	w.in.Key = "attempt 2"
	second := w.gather(t)
	require.False(t, second.Already)
	require.Contains(t, string(content(t, second.Set, "domain.json")), "shut off")
	require.Contains(t, string(content(t, first.Set, "domain.json")), "running", "the first stays")
}

func TestEvidenceOfTheAgent(t *testing.T) {
	c := oneVM()
	require.NoError(t, c.SkewGuestClock("VM1", time.Hour))
	w := witnessOf(t, c, nil)
	var state struct {
		Answers bool
		Ahead   time.Duration
		Error   string
	}
	require.NoError(t, json.Unmarshal(content(t, w.gather(t).Set, "agent.json"), &state))
	require.True(t, state.Answers)
	require.InDelta(t, time.Hour, state.Ahead, float64(time.Minute))
	require.NoError(t, c.MuteAgent("VM1"))
	w.in.Key = "2"
	require.NoError(t, json.Unmarshal(content(t, w.gather(t).Set, "agent.json"), &state))
	require.False(t, state.Answers)
	require.Contains(t, state.Error, "does not answer")
}

// What hangs costs its own piece, and the time that evidence has.
func TestEvidenceHoldsNothingUp(t *testing.T) {
	c := oneVM()
	require.NoError(t, c.HangVM("VM1"))
	over := make(chan struct{})
	defer close(over)
	w := witnessOf(t, c, func(o *activities.Options) {
		o.EvidenceTimeout = 200 * time.Millisecond
		o.Logs = func(context.Context, string, agent.Log, string) ([]byte, error) {
			<-over // ignores its context, as a file system that hangs does
			return nil, nil
		}
	})
	set := w.gather(t).Set
	require.Equal(t, []string{"console.log", "disk-errors.json", "qemu.log", "screenshot.png", "stats.json"}, keys(failed(set)))
	why := failed(set)
	require.Contains(t, why["qemu.log"], "not had within")
	require.Contains(t, why["stats.json"], "its QEMU does not answer")
	require.Contains(t, why["screenshot.png"], "QEMU was not asked", "it would take a call from the repair")
	require.Contains(t, why["disk-errors.json"], "QEMU was not asked")
	require.Contains(t, string(content(t, set, "domain.json")), "running")
	require.Contains(t, string(content(t, set, "job.json")), "occupied")

	require.NoError(t, c.HangLibvirtd("A"))
	w.in.Key = "2"
	set = w.gather(t).Set
	require.Len(t, failed(set), len(set.Items))
}

func TestEvidenceThatCannotBeKept(t *testing.T) {
	c := oneVM()
	w := witnessOf(t, c, func(o *activities.Options) { o.Evidence = nil })
	set := w.gather(t).Set
	require.Contains(t, set.Error, "evidence.dir")
	require.Empty(t, set.Items)

	w = witnessOf(t, c, func(o *activities.Options) {
		o.Logs = func(context.Context, string, agent.Log, string) ([]byte, error) {
			return nil, errors.New(strings.Repeat("why ", 1000))
		}
	})
	w.in.Host = "Z"
	require.Contains(t, w.gather(t).Set.Error, `no host "Z"`)
	w.in.Host = "A"
	require.Less(t, len(failed(w.gather(t).Set)["qemu.log"]), 400)

	// A folder that is gone.
	w = witnessOf(t, c, nil)
	require.NoError(t, w.store.Close())
	set = w.gather(t).Set
	require.NotEmpty(t, set.Error)
	require.Len(t, failed(set), len(set.Items))
	for _, i := range set.Items {
		require.Empty(t, i.URL)
	}

	for _, in := range []contract.EvidenceInput{{}, {IncidentID: "x"}, {IncidentID: "x", VM: fault.VM{UUID: "u"}}} {
		_, err := w.GatherEvidence(t.Context(), in)
		require.ErrorContains(t, err, "is empty")
	}
}

func TestEvidenceWithADump(t *testing.T) {
	c := oneVM()
	w := witnessOf(t, c, nil)
	dump := func(key string, d ladder.Dump) contract.EvidenceItem {
		t.Helper()
		w.in.Key, w.in.Dump = key, d
		items := w.gather(t).Set.Items
		require.Equal(t, "memory.dump", items[len(items)-1].Name)
		return items[len(items)-1]
	}
	item := dump("1", ladder.Dump{Pool: simulated.PoolName, MaxBytes: 2 << 30})
	require.Empty(t, item.Error)
	require.True(t, item.OnHost)
	dumps, err := c.Dumps("A")
	require.NoError(t, err)
	require.Contains(t, dumps, item.Path)
	require.Equal(t, "/var/lib/libvirt/images", filepath.Dir(item.Path))
	require.Contains(t, item.Path, "VM1")
	again := w.gather(t)
	require.True(t, again.Already)
	require.Equal(t, item, again.Set.Items[len(again.Set.Items)-1])

	require.Contains(t, dump("2", ladder.Dump{Pool: "none"}).Error, "no pool none")
	require.Contains(t, dump("3", ladder.Dump{Pool: simulated.PoolName, MaxBytes: 1 << 20}).Error, "1024 MiB of memory, and the most to dump is 1 MiB")
	require.NoError(t, c.FillPool("A", 99.99))
	require.Contains(t, dump("4", ladder.Dump{Pool: simulated.PoolName}).Error, "has room for")
	require.NoError(t, c.FillPool("A", 10))
	require.NoError(t, c.FailDumps("VM1", true))
	require.Contains(t, dump("5", ladder.Dump{Pool: simulated.PoolName}).Error, "no space left")
	require.NoError(t, c.StopPool("A"))
	require.Contains(t, dump("6", ladder.Dump{Pool: simulated.PoolName}).Error, "is inactive")
	require.NoError(t, c.KillVM("VM1"))
	require.Contains(t, dump("7", ladder.Dump{Pool: simulated.PoolName}).Error, "not active")
}
