package fault_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
)

// docs is where the pages about the kinds are. Every alarm names one of them.
const docs = "../../docs/faults"

func TestCatalogueIsComplete(t *testing.T) {
	name := regexp.MustCompile(`\A[a-z0-9-]+\z`)
	seen := map[fault.Kind]bool{}
	for i, info := range fault.Catalogue() {
		k := info.Kind
		require.Regexp(t, name, string(k))
		require.False(t, seen[k], "%s is there twice", k)
		seen[k] = true
		require.Equal(t, k, fault.Kinds()[i])
		require.Contains(t, []fault.SubjectType{fault.SubjectVM, fault.SubjectHost, fault.SubjectPool, fault.SubjectSite}, info.Subject, k)
		require.Contains(t, []fault.Level{fault.Critical, fault.Major, fault.Warning}, info.Level, k)
		require.Contains(t, []fault.Response{fault.RespondIncident, fault.RespondAlarm}, info.Response, k)
		require.True(t, 1 <= info.Severity && info.Severity <= 3, "severity of %s is %d", k, info.Severity)
		require.NotEmpty(t, info.Source, k)
		require.NotEmpty(t, info.Confirmation, k)
		require.NotEqual(t, info.Lab == "", info.NoLab == "", "%s: either the lab makes it, or there is a reason why not", k)

		found, ok := fault.Lookup(k)
		require.True(t, ok)
		require.Equal(t, info, found)
		require.Equal(t, info.Severity, k.Severity())
		require.Equal(t, info.Level, k.Level())
		require.Equal(t, info.Subject, k.Subject())
	}
	require.Equal(t, declared(t), slices.Sorted(maps.Keys(seen)), "every constant of type Kind is in the catalogue, and nothing else")
	_, ok := fault.Lookup("no-such-kind")
	require.False(t, ok)
	require.Zero(t, fault.Kind("no-such-kind").Severity())
}

// declared are the values of the constants of type Kind, as the source has them.
func declared(t *testing.T) []fault.Kind {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "kind.go", nil, 0)
	require.NoError(t, err)
	var kinds []fault.Kind
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if of, ok := spec.Type.(*ast.Ident); ok && of.Name == "Kind" {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			kinds = append(kinds, fault.Kind(value))
		}
		return true
	})
	slices.Sort(kinds)
	return kinds
}

func TestCatalogueIsACopy(t *testing.T) {
	fault.Catalogue()[0].Kind = "changed"
	fault.Kinds()[0] = "changed"
	require.Equal(t, fault.KindCrashed, fault.Catalogue()[0].Kind)
	require.Equal(t, fault.KindCrashed, fault.Kinds()[0])
}

// slots are on disk in workflows and in the memory of monitors of other versions:
// one that changes opens a second incident for the same trouble.
var slots = map[fault.Kind]string{
	fault.KindCrashed:     "vm/u",
	fault.KindStartFailed: "vm/u",
	fault.KindPanicked:    "vm/u",
	fault.KindLost:        "vm/u",
	fault.KindHung:        "vm/u",
	fault.KindIOError:     "vm/u",
	fault.KindNoSpace:     "vm/u",
	fault.KindPaused:      "vm/u",
	fault.KindRequested:   "vm/u",

	fault.KindWatchdog:   "vm/u/watchdog/r/d",
	fault.KindBootFailed: "vm/u/boot-failed/r/d",
	fault.KindClock:      "vm/u/clock-skew/r/d",
	fault.KindCPU:        "vm/u/cpu-pressure/r/d",
	fault.KindMemory:     "vm/u/memory-pressure/r/d",
	fault.KindDiskIO:     "vm/u/disk-pressure/r/d",
	fault.KindNet:        "vm/u/net-pressure/r/d",
	fault.KindDiskFull:   "vm/u/disk-full/r/d",
	fault.KindAlert:      "vm/u/alert/r/d",

	fault.KindHostUnreachable: "host/h",
	fault.KindHostOff:         "host/h",
	fault.KindLibvirtdDead:    "host/h",
	fault.KindLibvirtdHung:    "host/h",
	fault.KindMemoryErrors:    "host/h/memory-errors/r",
	fault.KindHostCPU:         "host/h/host-cpu/r",
	fault.KindHostMemory:      "host/h/host-memory/r",
	fault.KindHostDiskIO:      "host/h/host-disk/r",
	fault.KindHostPSI:         "host/h/host-psi/r",
	fault.KindHostClock:       "host/h/host-clock/r",

	fault.KindPoolLost: "pool/p/pool-lost",
	fault.KindPoolFull: "pool/p/pool-full",

	fault.KindCutOff:       "site/monitor-cut-off",
	fault.KindTemporalAway: "site/temporal-unreachable",
	fault.KindLate:         "site/sampling-late",
	fault.KindStorm:        "site/storm",
}

// filled is a fault with everything that a slot could be made of.
func filled(k fault.Kind) fault.Fault {
	return fault.Fault{
		ID: "1", Kind: k, Site: "s", VM: fault.VM{UUID: "u", Name: "n"}, Host: "h", Pool: "p", Device: "d", Rule: "r",
		First: time.Unix(1, 0), Why: "because",
	}
}

func TestSlots(t *testing.T) {
	for _, k := range fault.Kinds() {
		f := filled(k)
		require.Equal(t, slots[k], f.Slot(), k)

		// What changes while it stands moves it nowhere else.
		later := f
		later.ID, later.Site, later.Last, later.Why, later.Reporter = "2", "other", time.Unix(9, 0), "still", "another monitor"
		later.VM.Name, later.Level, later.Response, later.Flapping = "renamed", fault.Warning, fault.RespondAlarm, true
		require.Equal(t, f.Slot(), later.Slot(), k)

		other := f
		other.VM.UUID, other.Host, other.Pool = "u2", "h2", "p2"
		if k.Subject() != fault.SubjectSite {
			require.NotEqual(t, f.Slot(), other.Slot(), "%s of another %s", k, k.Subject())
		}
		f.Source = "alert/0123456789abcdef"
		require.Equal(t, f.Source, f.Slot(), "an alert from outside takes no monitor's place")
	}
	require.Len(t, slots, len(fault.Kinds()))

	// A VM has one place for its running on whatever host; a pool one for all hosts.
	for _, k := range []fault.Kind{fault.KindCrashed, fault.KindDiskFull, fault.KindPoolLost} {
		here, there := filled(k), filled(k)
		there.Host = "h2"
		require.Equal(t, here.Slot(), there.Slot(), k)
	}
	disk, rule := filled(fault.KindDiskFull), filled(fault.KindDiskFull)
	disk.Device, rule.Rule = "vdb", "mine"
	require.NotEqual(t, filled(fault.KindDiskFull).Slot(), disk.Slot(), "each disk has its own")
	require.NotEqual(t, filled(fault.KindDiskFull).Slot(), rule.Slot(), "each rule has its own")
}

func TestValidateBySubject(t *testing.T) {
	empty := map[fault.SubjectType]func(*fault.Fault){
		fault.SubjectVM:   func(f *fault.Fault) { f.VM.UUID = "" },
		fault.SubjectHost: func(f *fault.Fault) { f.Host = "" },
		fault.SubjectPool: func(f *fault.Fault) { f.Pool = "" },
	}
	says := map[fault.SubjectType]string{fault.SubjectVM: "vm.uuid is empty", fault.SubjectHost: "host is empty", fault.SubjectPool: "pool is empty"}
	for _, k := range fault.Kinds() {
		require.NoError(t, filled(k).Validate())
		for about, take := range empty {
			f := filled(k)
			take(&f)
			if about == k.Subject() {
				require.ErrorContains(t, f.Validate(), says[about], k)
			} else {
				require.NoError(t, f.Validate(), "%s is about a %s, and needs no %s", k, k.Subject(), about)
			}
		}
	}
	for field, take := range map[string]func(*fault.Fault){
		"id is empty":             func(f *fault.Fault) { f.ID = "" },
		"site is empty":           func(f *fault.Fault) { f.Site = "" },
		`kind "made-up" is not`:   func(f *fault.Fault) { f.Kind = "made-up" },
		`kind "" is not known`:    func(f *fault.Fault) { f.Kind = "" },
		`fault 1: site is empty`:  func(f *fault.Fault) { f.Site = "" },
		`fault: id is empty`:      func(f *fault.Fault) { f.ID, f.Site = "", "" },
		`fault 1: kind "made-up"`: func(f *fault.Fault) { f.Kind, f.Site = "made-up", "" },
	} {
		f := filled(fault.KindCrashed)
		take(&f)
		require.ErrorContains(t, f.Validate(), field)
	}
}

func TestSubjectAndWhatTheSiteSetOtherwise(t *testing.T) {
	want := map[fault.SubjectType]string{fault.SubjectVM: "n", fault.SubjectHost: "h", fault.SubjectPool: "p", fault.SubjectSite: "s"}
	for _, info := range fault.Catalogue() {
		f := filled(info.Kind)
		require.Equal(t, want[info.Subject], f.Subject())
		require.Equal(t, info.Level, f.HowBad())
		require.Equal(t, info.Response, f.Respond())
	}
	f := filled(fault.KindCPU)
	f.Level, f.Response, f.VM.Name = fault.Critical, fault.RespondIncident, ""
	require.Equal(t, fault.Critical, f.HowBad())
	require.Equal(t, fault.RespondIncident, f.Respond())
	require.Equal(t, "u", f.Subject(), "a VM without a name is its UUID")
}

// page reads a page of docs/faults.
func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docs, name))
	require.NoError(t, err, "write docs/faults/%s: alarms of that kind name it", name)
	return string(text)
}

func TestEveryKindHasOnePage(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(docs, "*.md"))
	require.NoError(t, err)
	var pages []string
	for _, f := range files {
		if name := filepath.Base(f); name != "README.md" {
			pages = append(pages, strings.TrimSuffix(name, ".md"))
		}
	}
	var kinds []string
	for _, k := range fault.Kinds() {
		kinds = append(kinds, string(k))
	}
	require.ElementsMatch(t, kinds, pages)

	of := map[fault.SubjectType]string{fault.SubjectVM: "Of a VM.", fault.SubjectHost: "Of a host.", fault.SubjectPool: "Of a storage pool.", fault.SubjectSite: "Of the site."}
	level := map[fault.Level]string{fault.Critical: "Critical.", fault.Major: "Major.", fault.Warning: "Warning."}
	does := map[fault.Response]string{fault.RespondIncident: "Opens an incident.", fault.RespondAlarm: "An alarm only."}
	for _, info := range fault.Catalogue() {
		lines := strings.Split(page(t, string(info.Kind)+".md"), "\n")
		require.Greater(t, len(lines), 3)
		require.Equal(t, "# "+string(info.Kind), lines[0])
		require.Equal(t, of[info.Subject]+" "+level[info.Level]+" "+does[info.Response], lines[2], "%s.md", info.Kind)
		last := strings.Join(lines[slices.Index(lines, "## Try it"):], "\n")
		if info.NoLab != "" {
			require.Contains(t, last, "Not in the lab", "%s.md", info.Kind)
			continue
		}
		for _, verb := range regexp.MustCompile(`lab [a-z-]+|holdfast [a-z]+|curl`).FindAllString(info.Lab, -1) {
			require.Contains(t, last, verb, "%s.md does not say how the lab makes it", info.Kind)
		}
	}
}

// tables are the rows of all tables of a page, by their first cell without its
// link, and without code marks.
func tables(text string) map[string][][]string {
	link := regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	rows := map[string][][]string{}
	for line := range strings.SplitSeq(text, "\n") {
		line, ok := strings.CutPrefix(strings.ReplaceAll(line, "`", ""), "| ")
		if !ok {
			continue
		}
		cells := strings.Split(strings.TrimSuffix(line, " |"), " | ")
		first := link.ReplaceAllString(cells[0], "$1")
		rows[first] = append(rows[first], cells)
	}
	return rows
}

func TestReadmeAgreesWithTheCatalogue(t *testing.T) {
	rows := tables(page(t, "README.md"))
	bare := func(s string) string { return strings.ReplaceAll(s, "`", "") }
	for _, info := range fault.Catalogue() {
		k := string(info.Kind)
		// The kind, what cannot be made in the lab, and rules of the same name.
		found := slices.DeleteFunc(slices.Clone(rows[k]), func(c []string) bool { return len(c) == len(ruleHead) })
		require.NotEmpty(t, found, "docs/faults/README.md has no row for %s", k)
		row := found[0]
		require.Len(t, row, 7, k)
		lab := info.Lab
		if lab == "" {
			lab = "-"
		}
		require.Equal(t, "["+k+"]("+k+".md)", row[0])
		require.Equal(t, []string{string(info.Subject), string(info.Level), string(info.Response), bare(info.Source)}, row[1:5], k)
		require.NotEmpty(t, row[5], k)
		require.Equal(t, bare(lab), row[6], k)

		if info.NoLab == "" {
			require.Len(t, found, 1, k)
			continue
		}
		require.Len(t, found, 2, "%s belongs among those that are not in the lab", k)
		require.Equal(t, info.NoLab, found[1][1], k)
		tests := regexp.MustCompile(`Test\w+`).FindAllString(found[1][2], -1)
		require.NotEmpty(t, tests, "name the test that covers %s", k)
		for _, name := range tests {
			require.True(t, hasTest(t, name, "../../monitor", "../agent"), "there is no %s, which is to cover %s", name, k)
		}
	}
}

// hasTest reports whether one of these folders has a test of that name.
func hasTest(t *testing.T, name string, dirs ...string) bool {
	t.Helper()
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		require.NoError(t, err)
		for _, f := range files {
			text, err := os.ReadFile(f)
			require.NoError(t, err)
			if strings.Contains(string(text), "\nfunc "+name+"(t *testing.T) {") {
				return true
			}
		}
	}
	return false
}

var ruleHead = []string{"rule", "metric", "unit", "raise", "clear", "for", "warm-up", "kind"}

func TestReadmeHasTheDefaultRules(t *testing.T) {
	rows := tables(page(t, "README.md"))
	require.Equal(t, [][]string{ruleHead}, rows["rule"])
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	span := func(d time.Duration) string {
		if d%time.Minute == 0 && d > 0 {
			return strconv.Itoa(int(d/time.Minute)) + "m"
		}
		return d.String()
	}
	for _, r := range rules.Defaults() {
		want := []string{r.Name, string(r.Metric), r.Metric.Unit(), number(r.Raise), number(r.Clear), span(r.For), span(r.Warmup), string(r.Kind)}
		require.Contains(t, rows[r.Name], want)
	}
}

func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]*)(#[^)]*)?\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	files, err := filepath.Glob(filepath.Join(docs, "*.md"))
	require.NoError(t, err)
	for _, f := range files {
		text := page(t, filepath.Base(f))
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			to := filepath.Join(docs, m[1])
			if m[1] == "" {
				to = f
			}
			require.FileExists(t, to, "linked from %s", f)
			if m[2] == "" {
				continue
			}
			there, err := os.ReadFile(to)
			require.NoError(t, err)
			var anchors []string
			for _, h := range heading.FindAllStringSubmatch(string(there), -1) {
				anchors = append(anchors, "#"+strings.ReplaceAll(strings.ToLower(h[1]), " ", "-"))
			}
			require.Contains(t, anchors, m[2], "linked from %s", f)
		}
	}
}
