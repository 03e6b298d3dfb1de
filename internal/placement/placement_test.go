package placement_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"holdfast/internal/placement"
)

const gib = 1 << 30

var vm = placement.Needs{Memory: 4 * gib, VCPUs: 2, Networks: []string{"lan"}}

func host(name string, free uint64) placement.Host {
	return placement.Host{Name: name, CPUs: 8, MemoryTotal: 64 * gib, MemoryAvailable: free * gib, Networks: []string{"dmz", "lan"}}
}

func TestRefused(t *testing.T) {
	for why, change := range map[string]func(*placement.Needs, *placement.Host){
		"no answer in time": func(_ *placement.Needs, h *placement.Host) { h.Error = "no answer in time" },
		"it failed there":   func(_ *placement.Needs, h *placement.Host) { h.Against = "it failed there" },
		"it has 1 CPUs, and the VM has 2": func(_ *placement.Needs, h *placement.Host) {
			h.CPUs = 1
		},
		"it has not the memory free that the VM may use: 4.0 GiB": func(_ *placement.Needs, h *placement.Host) {
			h.MemoryAvailable = gib / 2
		},
		"its network lan is not active (virsh net-start lan), or does not exist": func(_ *placement.Needs, h *placement.Host) {
			h.Networks = []string{"dmz"}
		},
		"a device is passed through; it has a snapshot": func(n *placement.Needs, _ *placement.Host) {
			n.Pinned = []string{"a device is passed through", "it has a snapshot"}
		},
	} {
		needs, h := vm, host("B", 8)
		change(&needs, &h)
		fit, unfit := placement.Rank(needs, []placement.Host{h})
		require.Empty(t, fit)
		require.Equal(t, []placement.Refusal{{Host: "B", Why: why}}, unfit)
	}
	exactly := host("B", 4)
	fit, _ := placement.Rank(vm, []placement.Host{exactly})
	require.Len(t, fit, 1, "what is needed, and no more, is enough")
	require.Zero(t, fit[0].Score)
}

func TestBestFirst(t *testing.T) {
	busy := host("D", 32)
	busy.Active = 3
	small := host("S", 30)
	small.MemoryTotal = 32 * gib
	fit, unfit := placement.Rank(vm, []placement.Host{host("B", 8), busy, host("E", 32), host("C", 32), host("F", 2), small})
	var order []string
	for _, c := range fit {
		order = append(order, c.Host)
	}
	require.Equal(t, []string{"S", "C", "E", "D", "B"}, order)
	require.Equal(t, "4.0 GiB of its memory stay free", fit[4].Why)
	require.Equal(t, []placement.Refusal{{Host: "F", Why: "it has not the memory free that the VM may use: 4.0 GiB"}}, unfit)
}

func TestExplain(t *testing.T) {
	require.Equal(t, "the site has no other host", placement.Explain(vm, nil))
	one := []placement.Refusal{{Host: "B", Why: "full"}}
	require.Equal(t, "no other host can have it: B: full", placement.Explain(vm, one))
	require.Equal(t, "no other host can have it (B, C): full", placement.Explain(vm, append(one, placement.Refusal{Host: "C", Why: "full"})))
	pinned := placement.Needs{Pinned: []string{"it has a snapshot"}}
	_, all := placement.Rank(pinned, []placement.Host{host("B", 8), host("C", 8)})
	require.Equal(t, "no other host can have it: it has a snapshot", placement.Explain(pinned, all))
	var many []placement.Refusal
	for i := range 100 {
		many = append(many, placement.Refusal{Host: fmt.Sprint("H", i), Why: fmt.Sprint("reason ", i%6)})
	}
	require.Equal(t, "no other host can have it: H0, H6, H12 and 14 more: reason 0; H1, H7, H13 and 14 more: reason 1; "+
		"H2, H8, H14 and 14 more: reason 2; H3, H9, H15 and 14 more: reason 3; and 2 more reasons", placement.Explain(vm, many))
}

// Whatever the hosts are: each is either a candidate or refused with a reason, none
// that lacks something is a candidate, and the order in which they come does not matter.
func TestRankIsTotal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 12).Draw(t, "hosts")
		hosts := make([]placement.Host, n)
		for i := range hosts {
			hosts[i] = placement.Host{
				Name: fmt.Sprint("H", i), CPUs: rapid.IntRange(0, 4).Draw(t, "cpus"), MemoryTotal: 8 * gib,
				MemoryAvailable: rapid.Uint64Range(0, 8).Draw(t, "free") * gib,
				Networks:        rapid.SampledFrom([][]string{nil, {"lan"}, {"dmz", "lan"}}).Draw(t, "networks"),
				Error:           rapid.SampledFrom([]string{"", "", "silent"}).Draw(t, "error"),
				Active:          rapid.IntRange(0, 3).Draw(t, "active"),
			}
		}
		fit, unfit := placement.Rank(vm, hosts)
		if len(fit)+len(unfit) != n {
			t.Fatalf("%d hosts, and %d candidates and %d refusals", n, len(fit), len(unfit))
		}
		for _, r := range unfit {
			if r.Why == "" {
				t.Fatalf("%s was turned down without a reason", r.Host)
			}
		}
		for i, c := range fit {
			h := hosts[slices.IndexFunc(hosts, func(h placement.Host) bool { return h.Name == c.Host })]
			if h.Error != "" || h.MemoryAvailable < vm.Memory || h.CPUs < vm.VCPUs || !slices.Contains(h.Networks, "lan") {
				t.Fatalf("%+v cannot have it", h)
			}
			if i > 0 && c.Score > fit[i-1].Score {
				t.Fatalf("%v is not sorted", fit)
			}
		}
		slices.Reverse(hosts)
		again, _ := placement.Rank(vm, hosts)
		if !slices.Equal(fit, again) {
			t.Fatalf("the order matters: %v and %v", fit, again)
		}
	})
}
