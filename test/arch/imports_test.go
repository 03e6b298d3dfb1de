package arch

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// importRule says what packages may not import. A package in these lists
// stands for those under it too. Test files are not looked at: they may use
// the lab and the simulated hosts.
type importRule struct {
	name string
	// of are the packages that the rule is about, except those in but.
	of, but []string
	// reached: what the package reaches indirectly counts as well.
	reached bool
	// never may be imported.
	never []string
	// only these may be imported, and the standard library. nil: anything.
	only []string
	why  string
}

var (
	pure = []string{
		module + "/internal/fault", module + "/internal/detect", module + "/internal/ladder",
		module + "/internal/placement", module + "/internal/proof", module + "/internal/retention",
	}
	// What a decision could take something from that is not its input.
	outside = []string{"crypto/rand", "math/rand", "math/rand/v2", "net", "net/http", "os", "log", "log/slog", "syscall"}
	libvirt = "libvirt.org/go/libvirt"
)

var importRules = []importRule{
	{
		name: "pure packages reach the standard library and each other",
		of:   pure, reached: true, only: pure,
		why: "decisions must be replayable anywhere, by anyone",
	},
	{
		name: "pure packages see no chance, file or network",
		of:   pure, never: outside,
		why: "pass it in as a value",
	},
	{
		name: "workflows know method names and data",
		of:   []string{module + "/workflows"},
		only: []string{
			module + "/activities", module + "/internal/contract",
			module + "/internal/fault", module + "/internal/ladder", module + "/internal/proof",
			"go.temporal.io/sdk/workflow", "go.temporal.io/sdk/temporal", "go.temporal.io/sdk/log",
			"go.temporal.io/api/enums/v1",
		},
		never: append([]string{"sync"}, outside...),
		why:   "workflow code is replayed: what is not deterministic belongs into an activity",
	},
	{
		name: "starter talks to Temporal alone",
		of:   []string{module + "/starter"}, reached: true,
		never: []string{module + "/activities", module + "/workflows", module + "/internal/hypervisor", libvirt},
		why:   "it runs on any laptop, and knows internal/contract instead",
	},
	{
		name: "activities see hosts through hypervisor.Host",
		of:   []string{module + "/activities"}, reached: true,
		never: []string{
			module + "/internal/hypervisor/libvirt", module + "/internal/hypervisor/simulated",
			module + "/workflows", libvirt,
		},
		why: "the worker passes the driver in",
	},
	{
		name: "the monitor reports and repairs nothing",
		of:   []string{module + "/monitor"}, reached: true,
		never: []string{module + "/activities", module + "/workflows", libvirt},
		why:   "it signals through starter; the driver is passed in",
	},
	{
		name: "internal packages are below the others",
		of:   []string{module + "/internal"},
		never: []string{
			module + "/activities", module + "/monitor", module + "/starter", module + "/worker", module + "/workflows",
		},
		why: "imports point down",
	},
	{
		name: "drivers do not know who asks",
		of:   []string{module + "/internal/hypervisor"}, reached: true,
		never: []string{"go.temporal.io"},
		why:   "a host is a host with or without Temporal",
	},
	{
		name: "one package binds libvirt",
		of:   []string{module}, but: []string{module + "/internal/hypervisor/libvirt"},
		never: []string{libvirt},
		why:   "cgo and its build tag stay in internal/hypervisor/libvirt",
	},
	{
		name:  "nobody imports commands",
		of:    []string{module},
		but:   []string{module + "/test"},
		never: []string{module + "/cmd"},
		why:   "cmd holds flags only: move what is needed down",
	},
	{
		name: "test support does not ship",
		of:   []string{module}, but: []string{module + "/test"}, reached: true,
		never: []string{module + "/test"},
		why:   "a binary holds nothing of the lab",
	},
}

// violations returns a line for each import among the packages that breaks the
// rule. all also holds the standard packages, which only allows by itself.
func (r importRule) violations(all []pkg) []string {
	standard := map[string]bool{}
	for _, p := range all {
		standard[p.ImportPath] = p.Standard
	}
	var out []string
	for _, p := range all {
		if !r.about(p.ImportPath) {
			continue
		}
		imports := p.Imports
		if r.reached {
			imports = p.Deps
		}
		for _, i := range imports {
			forbidden := withinAny(i, r.never) && !within(i, p.ImportPath)
			unknown := r.only != nil && !standard[i] && !withinAny(i, r.only)
			if forbidden || unknown {
				out = append(out, fmt.Sprintf("%s imports %s: %s", p.ImportPath, i, r.why))
			}
		}
	}
	return out
}

func (r importRule) about(path string) bool {
	return withinAny(path, r.of) && !withinAny(path, r.but)
}

func TestImports(t *testing.T) {
	all := list(t, "./...", "CGO_ENABLED=1")
	for _, r := range importRules {
		t.Run(r.name, func(t *testing.T) {
			require.Empty(t, r.violations(all))
			// A rule about packages that were renamed holds nothing.
			require.True(t, slices.ContainsFunc(all, func(p pkg) bool { return r.about(p.ImportPath) }),
				"none of %v exists: correct the rule", r.of)
		})
	}
}

// Every rule catches each import that it forbids, and one that it does not allow.
func TestImportRulesCatch(t *testing.T) {
	for _, r := range importRules {
		t.Run(r.name, func(t *testing.T) {
			bad := slices.Clone(r.never)
			if r.only != nil {
				bad = append(bad, "example.com/other")
			}
			require.NotEmpty(t, bad)
			for _, b := range bad {
				who := r.of[0] + "/some"
				breaks := []pkg{{ImportPath: who, Imports: []string{b}, Deps: []string{b}}, {ImportPath: "fmt", Standard: true}}
				require.Len(t, r.violations(breaks), 1, b)
			}
			keeps := []pkg{{ImportPath: r.of[0], Imports: []string{"fmt"}, Deps: []string{"fmt"}}, {ImportPath: "fmt", Standard: true}}
			require.Empty(t, r.violations(keeps))
		})
	}
}

// What is reached indirectly counts where the rule says so.
func TestImportRulesLookThrough(t *testing.T) {
	starter := importRules[slices.IndexFunc(importRules, func(r importRule) bool {
		return strings.HasPrefix(r.name, "starter")
	})]
	through := []pkg{{
		ImportPath: module + "/starter",
		Imports:    []string{module + "/internal/contract"},
		Deps:       []string{module + "/internal/contract", module + "/internal/hypervisor"},
	}}
	require.Equal(t, []string{
		"holdfast/starter imports holdfast/internal/hypervisor: it runs on any laptop, and knows internal/contract instead",
	}, starter.violations(through))
}

// The module libvirtxml has the same beginning, but is plain Go.
func TestWithinStopsAtASlash(t *testing.T) {
	require.True(t, within("libvirt.org/go/libvirt", libvirt))
	require.True(t, within("libvirt.org/go/libvirt/sub", libvirt))
	require.False(t, within("libvirt.org/go/libvirtxml", libvirt))
}

// The operator's client is built without cgo, for machines without libvirt.
func TestClientHasNoLibvirt(t *testing.T) {
	reaches := func(all []pkg) []string {
		var found []string
		for _, p := range all {
			if within(p.ImportPath, libvirt) || p.ImportPath == "runtime/cgo" {
				found = append(found, p.ImportPath)
			}
		}
		return found
	}
	require.Empty(t, reaches(list(t, "./cmd/holdfast", "CGO_ENABLED=0")))

	// With cgo the driver is there: the test looks in the right place.
	require.Contains(t, reaches(list(t, "./cmd/holdfast", "CGO_ENABLED=1")), libvirt)
}

// A package named for what it is not says nothing about what belongs into it.
func TestNoCatchAllPackages(t *testing.T) {
	for _, p := range ours(list(t, "./...", "CGO_ENABLED=1")) {
		require.False(t, isCatchAll(p.ImportPath, p.Name), "name package %s after what it does", p.ImportPath)
	}
	require.True(t, isCatchAll(module+"/internal/utils/disk", "disk"))
	require.True(t, isCatchAll(module+"/internal/disk", "helpers"))
	require.False(t, isCatchAll(module+"/internal/diskcopy", "diskcopy"))
}

func isCatchAll(importPath, name string) bool {
	bad := []string{"util", "utils", "common", "helper", "helpers", "misc"}
	return slices.ContainsFunc(append(strings.Split(importPath, "/"), name),
		func(part string) bool { return slices.Contains(bad, part) })
}
