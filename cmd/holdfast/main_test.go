package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/config"
)

// asProgram makes this test binary the program itself, for tests that need a
// process of it.
const asProgram = "HOLDFAST_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	time.Local = time.UTC // tables show local time
	os.Exit(m.Run())
}

// nobody is an address where no Temporal is.
const nobody = "127.0.0.1:1"

// holdfast runs a command line in this process, without anything that the
// environment says about Temporal and the site.
func holdfast(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	t.Setenv("TEMPORAL_CONFIG_FILE", filepath.Join(t.TempDir(), "none.toml"))
	t.Setenv("TEMPORAL_ADDRESS", nobody)
	t.Setenv("TEMPORAL_NAMESPACE", "")
	t.Setenv("HOLDFAST_SITE", "")
	var o, e bytes.Buffer
	code = run(args, &o, &e)
	return o.String(), e.String(), code
}

func TestReport(t *testing.T) {
	root := newRoot(nil, nil)
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{nil, exitOK, ""},
		{errors.New("no such thing "), exitError, "holdfast: no such thing\n"},
		{usage(root, "what is %q", "this"), exitUsage, "holdfast: what is \"this\"\nSee `holdfast --help`.\n"},
		{fmt.Errorf("asking: %w", context.Canceled), exitError, "holdfast: interrupted\n"},
		{needsPersonError{vm: "VM1", id: "incident/x", why: "5 failed repairs"}, exitNeedsPerson,
			"holdfast: incident/x needs a person: 5 failed repairs; when it is mended, or to try again: `holdfast recover VM1`\n"},
		{needsPersonError{id: "incident/x", why: "A is off", watched: true}, exitNeedsPerson,
			"holdfast: incident/x needs a person: A is off; it closes by itself when that is over, or cancel it to have it dismissed\n"},
		{config.Errors{{File: "s.yaml", Line: 3, Field: "hosts", Message: "is empty"}}, exitError,
			"s.yaml:3: hosts: is empty\nholdfast: s.yaml has a mistake: mend it and try again with `holdfast config check s.yaml`\n"},
	} {
		var b bytes.Buffer
		require.Equal(t, c.code, report(&b, c.err))
		require.Equal(t, c.text, b.String())
	}
}

func TestCommandLinesThatMakeNoSense(t *testing.T) {
	for line, says := range map[string]string{
		"frobnicate":                              `holdfast has no command "frobnicate"; known: `,
		"incident wacth":                          `did you mean "watch"?`,
		"vm list extra":                           `holdfast vm list wants no arguments, and got "extra"`,
		"vm list --no-such-flag":                  "unknown flag: --no-such-flag",
		"recover":                                 "holdfast recover wants VM",
		"recover a b":                             `holdfast recover wants VM and no more, and got "b"`,
		"recover a --dry-run --watch":             "give one of them",
		"vm list -o xml":                          "known: table, json, yaml",
		"vm list --log-level loud":                "known: debug, info, warn, error",
		"vm list --log-format pretty":             "known: text, json",
		"vm list --timeout -1s":                   "write 0 for no end",
		"vm list --timeout 5":                     "missing unit",
		"incident list --kind crash":              `did you mean "crashed"?`,
		"incident list --kind zzz":                "known: crashed, start-failed",
		"incident list --limit 0":                 "write 1 or more",
		"incident watch VM1 --wait -1s":           "is negative",
		"faults extra":                            "wants no arguments",
		"faults --kind hugn":                      `did you mean "hung"?`,
		"faults --level mjaor":                    `did you mean "major"?`,
		"faults watch --level zzz":                "known: critical, major, warning",
		"faults watch -o yaml":                    "as a table or as json",
		"incident report":                         "holdfast incident report wants ID|WHAT|FILE.json",
		"incident report VM1 --html=false":        "leaves no form to write it in",
		"incident report VM1 --to - -o json":      "give one of them",
		"incident report x.json --token-file t":   "may be anybody's",
		"policy tset":                             `did you mean "test"?`,
		"snapshot prune":                          "holdfast snapshot prune wants VM",
		"snapshot prune VM1 --keep 4x":            `--keep 4x: "4x" is not a number with one of h, d, w, m (months) and y`,
		"snapshot schedule VM1":                   "wants no arguments",
		"explain":                                 "holdfast explain wants VM|HOST",
		"vm annotate":                             "holdfast vm annotate wants VM",
		"vm annotate VM1 --dry-run":               "wants something to change",
		"vm annotate VM1 tier":                    "neither sets nor takes away anything",
		"vm annotate VM1 mode=off cpu.raise=high": `"off" is not a mode`,
		"sim skew-clock VM1 soon":                 "SECONDS is \"soon\": write a number",
		"sim load VM1":                            "wants PERCENT",
		"sim fail-starts VM1 some":                "write a number, or all",
		"sim fail-backups VM1 some":               "write a number, or all",
		"sim fail-backups VM1 --on A":             "unknown flag: --on",
		"sim fail-restores":                       "wants VM",
		"sim damage-backups":                      "wants VM",
		"dev":                                     "wants a SITEFILE, or --simulated",
		"dev --simulated site.yaml":               "takes no SITEFILE",
		"dev --simulated=3by10":                   "write HOSTSxVMS, such as 3x10",
		"dev --simulated 0x10":                    "at least 1 host",
		"dev --simulated 999999x999999":           "at most 100000 VMs",
		"dev --simulated --address 10.0.0.1:7233": "use --temporal-address",
	} {
		t.Run(line, func(t *testing.T) {
			out, errOut, code := holdfast(t, strings.Fields(line)...)
			require.Equal(t, exitUsage, code, errOut)
			require.Empty(t, out)
			require.Contains(t, errOut, says)
			require.Contains(t, errOut, "See `holdfast")
			require.True(t, strings.HasPrefix(errOut, "holdfast: "), errOut)
			require.Equal(t, 2, strings.Count(errOut, "\n"), "said once: %s", errOut)
		})
	}
}

func TestTemporalIsAway(t *testing.T) {
	for _, line := range []string{"vm list", "host list", "recover VM1", "incident list", "incident show VM1", "incident watch VM1", "incident report VM1", "sim kill VM1",
		"faults", "faults watch", "explain VM1", "vm annotate VM1 tier=db", "snapshot schedule", "snapshot prune VM1"} {
		t.Run(line, func(t *testing.T) {
			out, errOut, code := holdfast(t, strings.Fields(line)...)
			require.Equal(t, exitError, code)
			require.Empty(t, out)
			require.Contains(t, errOut, nobody+": cannot reach Temporal")
			require.Contains(t, errOut, "start `holdfast dev`")
			require.Equal(t, 1, strings.Count(errOut, "\n"), "said once: %s", errOut)
		})
	}
}

const brokenSite = `site: Lab
hosts:
  - name: kvm1
    uri: qemu+tls://kvm1/system
  - name: kvm1
    uri: qemu+tls://root:secret@kvm2/system
monitor:
  sweeep: 5s
recovery:
  window: 5
`

func TestConfigCheck(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	require.NoError(t, os.WriteFile(broken, []byte(brokenSite), 0o600))

	out, errOut, code := holdfast(t, "config", "check", broken)
	require.Equal(t, exitError, code)
	require.Empty(t, out)
	for _, says := range []string{
		"broken.yaml:1: site: ", "broken.yaml:5: hosts[1].name: ", "broken.yaml:6: hosts[1].uri: ",
		"broken.yaml:8: monitor: unknown field", `did you mean "sweep"?`, "broken.yaml:10: recovery.window: ",
		"has 5 mistakes",
	} {
		require.Contains(t, errOut, says)
	}
	require.NotContains(t, errOut, "secret")
	require.Equal(t, 6, strings.Count(errOut, "\n"), "each mistake once: %s", errOut)

	out, _, code = holdfast(t, "config", "check", broken, "-o", "json")
	require.Equal(t, exitError, code)
	require.Contains(t, out, `"ok": false`)
	require.Contains(t, out, `"field": "hosts[1].uri"`)

	for _, args := range [][]string{{"worker", broken}, {"monitor", broken}, {"dev", broken}, {"config", "show", broken}} {
		out, errOut, code = holdfast(t, args...)
		require.Equal(t, exitError, code)
		require.Empty(t, out)
		require.Contains(t, errOut, "has 5 mistakes", "%v", args)
	}

	_, errOut, code = holdfast(t, "config", "check", filepath.Join(t.TempDir(), "none.yaml"))
	require.Equal(t, exitError, code)
	require.Contains(t, errOut, "no such file")
}

func TestConfigOfASoundFile(t *testing.T) {
	example := filepath.Join("..", "..", "docs", "site.example.yaml")
	out, errOut, code := holdfast(t, "config", "check", example)
	require.Equal(t, exitOK, code, errOut)
	require.Equal(t, example+" is sound: site default, 3 hosts\n", out)

	shown, _, code := holdfast(t, "config", "show", example)
	require.Equal(t, exitOK, code)
	again := filepath.Join(t.TempDir(), "shown.yaml")
	require.NoError(t, os.WriteFile(again, []byte(shown), 0o600))
	twice, _, code := holdfast(t, "config", "show", again)
	require.Equal(t, exitOK, code, "what is shown is a site file")
	require.Equal(t, shown, twice)

	out, _, code = holdfast(t, "config", "show", example, "-o", "json")
	require.Equal(t, exitOK, code)
	require.Contains(t, out, `"sweep": "10s"`)
}

func TestASiteIsCalledWhatItsFileSays(t *testing.T) {
	example := filepath.Join("..", "..", "docs", "site.example.yaml")
	_, errOut, code := holdfast(t, "worker", example, "--site", "other")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errOut, `is about site "default"`)
}

func TestVersion(t *testing.T) {
	out, _, code := holdfast(t, "version", "-o", "json")
	require.Equal(t, exitOK, code)
	for _, key := range []string{`"version": "`, `"go": "go1.`, `"platform": "`, `"libvirt": `} {
		require.Contains(t, out, key)
	}
	out, _, code = holdfast(t, "version")
	require.Equal(t, exitOK, code)
	require.True(t, strings.HasPrefix(out, "holdfast "), out)
}

func TestCompletionIsSilentWithoutTemporal(t *testing.T) {
	for _, line := range [][]string{
		{"recover", ""}, {"incident", "show", ""}, {"sim", "cut", ""}, {"vm", "list", "--host", ""}, {"incident", "list", "--vm", ""},
		{"explain", ""}, {"vm", "annotate", ""}, {"faults", "--vm", ""}, {"incident", "report", ""},
	} {
		out, _, code := holdfast(t, append([]string{"__complete"}, line...)...)
		require.Equal(t, exitOK, code)
		require.Equal(t, ":4\n", out, "%v", line) // no words, and no files instead
	}
	out, _, _ := holdfast(t, "__complete", "incident", "list", "--kind", "")
	require.Contains(t, out, "crashed\nstart-failed\n")
	out, _, _ = holdfast(t, "__complete", "faults", "--level", "")
	require.Contains(t, out, "critical\nmajor\nwarning\n")
	out, _, _ = holdfast(t, "__complete", "policy", "test", "--incident", "")
	require.Equal(t, "json\n:8\n", out, "files of incidents, which need no Temporal")
	out, _, _ = holdfast(t, "__complete", "vm", "list", "-o", "")
	require.Contains(t, out, "table\njson\nyaml\n")
}
