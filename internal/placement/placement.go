// Package placement decides which host of a site a VM could be started on: what
// speaks against each, and which of the others is best. It is pure: what is known
// comes in, and the same input always gives the same answer.
package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Needs are what a VM needs of the host that it is started on.
type Needs struct {
	Memory   uint64   `json:"memory"` // bytes, the most that its guest may use
	VCPUs    int      `json:"vcpus"`
	Networks []string `json:"networks,omitempty"` // virtual networks, by name
	// Pinned says what it cannot have on any other host than its own.
	Pinned []string `json:"pinned,omitempty"`
}

// Host is what is known of a host.
type Host struct {
	Name string `json:"name"`
	// Error is why it could not be asked; empty: the rest is so.
	Error string `json:"error,omitempty"`
	// Against is what else speaks against it, such as that the VM failed there a
	// moment ago; empty: nothing.
	Against         string   `json:"against,omitempty"`
	CPUs            int      `json:"cpus"`
	MemoryTotal     uint64   `json:"memoryTotal"`     // bytes
	MemoryAvailable uint64   `json:"memoryAvailable"` // bytes
	Active          int      `json:"active"`          // domains
	Networks        []string `json:"networks,omitempty"`
}

// Candidate is a host that a VM could be started on.
type Candidate struct {
	Host string `json:"host"`
	// Score is the share of its memory that would be left free, 0 to 1.
	Score float64 `json:"score"`
	Why   string  `json:"why"`
}

// Refusal is a host that was turned down.
type Refusal struct {
	Host string `json:"host"`
	Why  string `json:"why"`
}

// Rank sorts the hosts that a VM could be started on, best first, from those that
// cannot have it, in the order in which they came. The best is the one that has the
// largest share of its memory left with the VM on it: memory is what a host runs out
// of first, and what it then kills its VMs for. Of two that are alike it is the one
// with fewer active domains, and then the first by name.
func Rank(vm Needs, hosts []Host) (fit []Candidate, unfit []Refusal) {
	active := make(map[string]int, len(hosts))
	for _, h := range hosts {
		active[h.Name] = h.Active
		if why := refuses(vm, h); why != "" {
			unfit = append(unfit, Refusal{h.Name, why})
			continue
		}
		left := h.MemoryAvailable - vm.Memory
		fit = append(fit, Candidate{
			Host: h.Name, Score: float64(left) / float64(max(h.MemoryTotal, 1)),
			Why: fmt.Sprintf("%s of its memory stay free", gib(left)),
		})
	}
	slices.SortFunc(fit, func(x, y Candidate) int {
		return cmp.Or(cmp.Compare(y.Score, x.Score), cmp.Compare(active[x.Host], active[y.Host]), cmp.Compare(x.Host, y.Host))
	})
	return fit, unfit
}

// refuses says why a host cannot have the VM; empty: it can.
func refuses(vm Needs, h Host) string {
	if len(vm.Pinned) > 0 {
		return strings.Join(vm.Pinned, "; ")
	}
	switch {
	case h.Error != "":
		return h.Error
	case h.Against != "":
		return h.Against
	case vm.VCPUs > h.CPUs:
		return fmt.Sprintf("it has %d CPUs, and the VM has %d", h.CPUs, vm.VCPUs)
	case vm.Memory > h.MemoryAvailable:
		// Without what it has: that changes all the time, and the reason does not.
		return fmt.Sprintf("it has not the memory free that the VM may use: %s", gib(vm.Memory))
	}
	for _, n := range vm.Networks {
		if !slices.Contains(h.Networks, n) {
			return fmt.Sprintf("its network %s is not active (virsh net-start %s), or does not exist", n, n)
		}
	}
	return ""
}

// mostReasons bounds the reasons that [Explain] spells out, and mostNames the hosts
// that it names for each.
const (
	mostReasons = 4
	mostNames   = 3
)

// Explain says in a line why no host can have the VM. Hosts that were turned down for
// the same reason stand together: a site may have a thousand.
func Explain(vm Needs, refused []Refusal) string {
	switch {
	case len(refused) == 0:
		return "the site has no other host"
	case len(vm.Pinned) > 0: // which is true of all
		return "no other host can have it: " + refused[0].Why
	}
	var whys []string
	names := make(map[string][]string)
	for _, r := range refused {
		if names[r.Why] == nil {
			whys = append(whys, r.Why)
		}
		names[r.Why] = append(names[r.Why], r.Host)
	}
	if len(whys) == 1 && len(refused) > 1 {
		return fmt.Sprintf("no other host can have it (%s): %s", listed(names[whys[0]]), whys[0])
	}
	var parts []string
	for _, why := range whys[:min(len(whys), mostReasons)] {
		parts = append(parts, listed(names[why])+": "+why)
	}
	text := "no other host can have it: " + strings.Join(parts, "; ")
	if more := len(whys) - mostReasons; more > 0 {
		text += fmt.Sprintf("; and %d more reasons", more)
	}
	return text
}

// listed names some hosts, and counts the rest.
func listed(names []string) string {
	if more := len(names) - mostNames; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:mostNames], ", "), more)
	}
	return strings.Join(names, ", ")
}

// gib is a number of bytes for people.
func gib(bytes uint64) string {
	if bytes < 1<<30 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}
