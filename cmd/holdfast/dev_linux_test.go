package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/starter"
	"holdfast/test/rig"
)

// devProcess is a `holdfast dev` in a process of its own, and how to talk to it.
type devProcess struct {
	*rig.Process
	env     []string
	address string
	out     func() string
	pid     int
}

// startDev starts `holdfast dev` on free ports and waits until it is ready.
func startDev(t *testing.T, args ...string) devProcess {
	t.Helper()
	temporal, err := rig.FindTemporal()
	require.NoError(t, err)
	address := freeAddress(t)
	d := devProcess{
		env: []string{
			asProgram + "=1", "TEMPORAL_BINARY=" + temporal, "TEMPORAL_ADDRESS=" + address, "TEMPORAL_NAMESPACE=",
			"HOLDFAST_SITE=", "TEMPORAL_CONFIG_FILE=" + filepath.Join(t.TempDir(), "none.toml"),
		},
		address: address,
	}
	pidFile := filepath.Join(t.TempDir(), "out")
	// The shell's only work is to give stdout a file of its own; it becomes holdfast.
	line := append([]string{"-c", `echo $$ > "$0.pid"; exec "$@" > "$0"`, pidFile, os.Args[0], "dev", "--temporal-address", address,
		"--ui-address", "127.0.0.1:0", "--listen", "127.0.0.1:0"}, args...)
	d.Process = rig.Run(t, "holdfast-dev", d.env, "/bin/sh", line...)
	d.out = func() string {
		text, err := os.ReadFile(pidFile)
		require.NoError(t, err)
		return string(text)
	}
	rig.Eventually(t, "holdfast dev", func() error {
		text, err := os.ReadFile(pidFile)
		if err == nil && !strings.Contains(string(text), "\nready\n") {
			err = fmt.Errorf("is not ready: %s", text)
		}
		return err
	})
	text, err := os.ReadFile(pidFile + ".pid")
	require.NoError(t, err)
	d.pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	return d
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// holdfast runs a command line against it.
func (d devProcess) holdfast(t *testing.T, line string) (out, errOut string, code int) {
	t.Helper()
	return rig.Command(t, d.env, os.Args[0], strings.Fields(line)...)
}

// ok runs a command line that must work.
func (d devProcess) ok(t *testing.T, line string) string {
	t.Helper()
	out, errOut, code := d.holdfast(t, line)
	require.Equal(t, exitOK, code, "%s: %s%s", line, out, errOut)
	require.Empty(t, errOut, line)
	return out
}

// children are the processes that a process started.
func children(t *testing.T, pid int) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	require.NotEmpty(t, stats)
	var found []int
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has just ended
		}
		// PID (NAME) STATE PARENT: the name may hold anything.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			child, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			require.NoError(t, err)
			found = append(found, child)
		}
	}
	return found
}

func TestDevSimulated(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	d := startDev(t, "--simulated", "2x2")
	for _, says := range []string{
		"site default: 2 simulated hosts with 4 VMs (A, B)", d.address, "web UI    http://127.0.0.1:", "listening on 127.0.0.1:",
		"holdfast sim kill VM1 && holdfast incident watch VM1 --wait 30s",
	} {
		require.Contains(t, d.out(), says)
	}
	temporal := children(t, d.pid)
	require.Len(t, temporal, 1)

	t.Run("what is where", func(t *testing.T) { whatIsWhere(t, d) })
	// It takes a while until Holdfast gives up: meanwhile the rest goes on.
	d.ok(t, "sim fail-starts VM2 all")
	d.ok(t, "sim kill VM2")
	t.Run("a VM that was killed recovers", func(t *testing.T) { killedVMRecovers(t, d) })
	t.Run("why it was repaired so", func(t *testing.T) { whyItWas(t, d) })
	t.Run("words for the shell", func(t *testing.T) { completesWords(t, d) })
	t.Run("what cannot be", func(t *testing.T) { refusals(t, d) })
	t.Run("faults are seen, explained and over", func(t *testing.T) { faultsAreSeen(t, d) })
	t.Run("a VM that a person holds", func(t *testing.T) { heldVM(t, d) })
	t.Run("a VM that is only observed", func(t *testing.T) { observedVM(t, d) })
	t.Run("a silent host is a warning", func(t *testing.T) { silentHost(t, d) })
	t.Run("a person is needed, and helps", func(t *testing.T) { personHelps(t, d) })

	d.Signal(syscall.SIGINT)
	require.Equal(t, exitOK, d.Wait(t).ExitCode())
	require.Contains(t, d.out(), "\nstopping\n")
	require.ErrorIs(t, syscall.Kill(temporal[0], 0), syscall.ESRCH, "Temporal's process is left")
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	require.NoError(t, err)
	require.Empty(t, left, "a simulated site leaves no data")
}

func whatIsWhere(t *testing.T, d devProcess) {
	require.Equal(t, 5, strings.Count(d.ok(t, "vm list"), "\n"))
	var vms []contract.VMState
	require.NoError(t, json.Unmarshal([]byte(d.ok(t, "vm list --host B -o json")), &vms))
	require.Len(t, vms, 2)
	require.Equal(t, "VM2", vms[0].VM.Name)
	require.Contains(t, d.ok(t, "host list"), "A     yes      2       2\n")
	require.Equal(t, "[]\n", d.ok(t, "incident list -o json"))
	dry := d.ok(t, "recover VM1 --dry-run")
	require.Contains(t, dry, "would ask for the repair of VM1 (")
	require.Contains(t, dry, "  A  running  booted\n")
}

func killedVMRecovers(t *testing.T, d devProcess) {
	require.Equal(t, "killed the QEMU process of VM1\n", d.ok(t, "sim kill VM1"))
	story := d.ok(t, "incident watch VM1 --wait 60s")
	require.Contains(t, story, "incident/default/VM1/")
	require.Contains(t, story, "recovered: VM1 is running on A")
	require.Contains(t, d.ok(t, "incident show VM1"), ": recovered (restart)\n")
	var list []starter.IncidentSummary
	rig.Eventually(t, "the list", func() error { // Temporal's index lags
		require.NoError(t, json.Unmarshal([]byte(d.ok(t, "incident list --vm VM1 -o json")), &list))
		if len(list) != 1 || list[0].Outcome != string(contract.OutcomeRecovered) {
			return fmt.Errorf("has %+v", list)
		}
		return nil
	})
	short := strings.TrimPrefix(list[0].ID, "incident/default/")
	var inc contract.Incident
	require.NoError(t, json.Unmarshal([]byte(d.ok(t, "incident show "+short+" -o json")), &inc))
	require.Equal(t, list[0].ID, inc.ID)
	require.Equal(t, list[0].ID, strings.SplitN(d.ok(t, "incident watch "+inc.VM.UUID), ":", 2)[0], "a UUID is as good as a name")
}

func whyItWas(t *testing.T, d devProcess) {
	require.Contains(t, d.ok(t, "incident show VM1 --decisions"), "hosts    ")
	file := filepath.Join(t.TempDir(), "vm1.html")
	require.Equal(t, file+"\n", d.ok(t, "incident report VM1 --to "+file))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(text), "restart on A")
	_, errOut, code := d.holdfast(t, "incident report VM1 --to "+file)
	require.Equal(t, exitError, code)
	require.Contains(t, errOut, "--force writes over it")
	// The example observes, and the simulated site repairs.
	example := filepath.Join("..", "..", "docs", "site.example.yaml")
	out, errOut, code := d.holdfast(t, "policy test --incident VM1 --exit-code --policy "+example)
	require.Equal(t, exitDiffers, code, errOut)
	require.Contains(t, out, "observe: would restart on A")
	require.NotContains(t, out, "This release decides", "the ladder decides again as it did")
}

func completesWords(t *testing.T, d devProcess) {
	require.Equal(t, "VM1\nVM3\nVM2\nVM4\n:4\n", d.ok2(t, "__complete recover VM"))
	require.Equal(t, "B\n:4\n", d.ok2(t, "__complete sim cut B"))
	require.Contains(t, d.ok2(t, "__complete incident show incident/"), "incident/default/VM1/")
}

// ok2 is ok for what cobra comments on stderr.
func (d devProcess) ok2(t *testing.T, line string) string {
	t.Helper()
	out, errOut, code := d.holdfast(t, line)
	require.Equal(t, exitOK, code, errOut)
	return out
}

func refusals(t *testing.T, d devProcess) {
	for line, says := range map[string]string{
		"recover VM33":                          "Did you mean VM3?",
		"recover VM1 --host C":                  "site default has no host C",
		"sim kill VM9":                          `no VM "VM9"`,
		"incident show VM4":                     "VM4 has no incident",
		"incident watch VM4 --wait 1s":          "VM4 got no incident at site default within 1s",
		"incident show incident/default/VM1/no": "there is no incident incident/default/VM1/no",
		"vm list --site other --timeout 1s":     "no answer after 1s",
		"dev --simulated 1x1 --listen 127.0.0.1:0 --no-ui --temporal-address " + d.address: "is another one running?",
	} {
		_, errOut, code := d.holdfast(t, line)
		require.Equal(t, exitError, code, "%s: %s", line, errOut)
		require.Contains(t, errOut, says, line)
		require.Equal(t, 1, strings.Count(errOut, "holdfast: "), errOut)
	}
}

func faultsAreSeen(t *testing.T, d devProcess) {
	require.Contains(t, d.ok(t, "explain A"), "host A: answers\n")
	_, errOut, code := d.holdfast(t, "explain VM99")
	require.Equal(t, exitError, code)
	require.Contains(t, errOut, `no VM "VM99"`)
	d.ok(t, "vm annotate VM3 mode=observe") // so that it stays as it is
	d.ok(t, "sim io-error VM3")
	rig.Eventually(t, "the fault", func() error {
		if list := d.ok(t, "faults --vm VM3 --level critical"); !strings.Contains(list, "critical  io-error  VM3  A") {
			return fmt.Errorf("is not in %q", list)
		}
		return nil
	})
	var out contract.FaultsResult
	require.NoError(t, json.Unmarshal([]byte(d.ok(t, "faults --vm VM3 -o json")), &out))
	require.Len(t, out.Faults, 1)
	require.Contains(t, d.ok(t, "explain VM3"), "VM3 on A: paused (I/O error)\n")
	rig.Eventually(t, "what would be done", func() error {
		if story, _, _ := d.holdfast(t, "incident show VM3"); !strings.Contains(story, "would resume VM3 on A because: ") {
			return fmt.Errorf("is not in %s", story)
		}
		return nil
	})
	d.ok(t, "sim mend-disk VM3")
	require.Contains(t, d.ok(t, "recover VM3 --watch"), "recovered: VM3 is running on A")
	d.ok(t, "vm annotate VM3 mode-")
	rig.Eventually(t, "that it is over", func() error {
		if list := d.ok(t, "faults --vm VM3"); strings.Contains(list, "io-error") {
			return fmt.Errorf("it is not: %s", list)
		}
		return nil
	})
	require.Empty(t, strings.TrimPrefix(d.ok(t, "faults --vm VM3"), "LEVEL  FAULT  OF  HOST  SINCE  WHY\n"))
}

func heldVM(t *testing.T, d devProcess) {
	require.Contains(t, d.ok(t, "vm hold VM1 --reason elsewhere --dry-run"), "would change\n  + hold=")
	require.Contains(t, d.ok(t, "vm hold VM1 --reason elsewhere"), " holds it: elsewhere\n")
	earlier := len(d.incidents(t, "VM1"))
	d.ok(t, "sim kill VM1")
	rig.Eventually(t, "the incident", func() error {
		if out, errOut, _ := d.holdfast(t, "incident show VM1"); !strings.Contains(out, ": held\n") {
			return fmt.Errorf("is %s%s", out, errOut)
		}
		return nil
	})
	require.Len(t, d.incidents(t, "VM1"), earlier+1)
	require.Contains(t, d.ok(t, "incident show VM1"), "waits for `holdfast vm release VM1`")
	for line, says := range map[string]string{
		"incident approve VM1 --reason x":                  "nothing waits for approval: it is in stage held",
		"incident reject VM1 --reason x":                   "nothing waits for approval",
		"incident resume VM1 --reason x":                   "it is not held",
		"incident retry VM1":                               "it waits for nobody",
		"incident hold incident/default/VM9/no --reason x": "there is no open incident incident/default/VM9/no",
		"incident cancel VM3 --reason x":                   "there is no open incident",
	} {
		_, errOut, code := d.holdfast(t, line)
		require.Equal(t, exitError, code, "%s: %s", line, errOut)
		require.Contains(t, errOut, says, line)
	}
	_, errOut, code := d.holdfast(t, "incident hold VM1")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errOut, "say why, with --reason")
	require.Contains(t, d.ok(t, "incident hold VM1 --reason mine --dry-run"), "would tell incident/default/VM1/")
	require.Contains(t, d.ok(t, "incident hold VM1 --reason mine"), "does nothing more")
	require.Contains(t, d.ok(t, "vm release VM1"), "  - hold=")
	rig.Eventually(t, "it is still held, by itself", func() error {
		if out, errOut, _ := d.holdfast(t, "incident show VM1"); !strings.Contains(out, "holds this incident: mine") || !strings.Contains(out, ": held\n") {
			return fmt.Errorf("is %s%s", out, errOut)
		}
		return nil
	})
	require.Contains(t, d.ok(t, "incident resume VM1 --reason done --watch"), "recovered: VM1 is running on A")
}

func (d devProcess) incidents(t *testing.T, vm string) (list []starter.IncidentSummary) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(d.ok(t, "incident list --vm "+vm+" -o json")), &list))
	return list
}

func observedVM(t *testing.T, d devProcess) {
	require.Equal(t, "VM4 on B: no annotation\n", d.ok(t, "vm annotate VM4"))
	require.Equal(t, "VM4 on B: would change\n  + mode=observe\n  + tier=db\n", d.ok(t, "vm annotate VM4 tier=db mode=observe --dry-run"))
	require.Equal(t, "VM4 on B: changed\n  + mode=observe\n  + tier=db\n", d.ok(t, "vm annotate VM4 tier=db mode=observe"))
	rig.Eventually(t, "the monitor", func() error {
		if x := d.ok(t, "explain VM4"); !strings.Contains(x, "Mode       observe: the VM's annotation says observe\n") {
			return fmt.Errorf("says %s", x)
		}
		return nil
	})
	d.ok(t, "sim kill VM4")
	rig.Eventually(t, "the incident", func() error {
		out, errOut, _ := d.holdfast(t, "incident show VM4")
		if !strings.Contains(out, ": observe\n") {
			return fmt.Errorf("is %s%s", out, errOut)
		}
		return nil
	})
	require.Contains(t, d.ok(t, "incident show VM4"), "would restart VM4 on B because: ")
	require.Contains(t, d.ok(t, "vm list"), "VM4  B     shut off")
	story := d.ok(t, "recover VM4 --watch")
	require.Contains(t, story, "observed only, and repairs now that you ask")
	require.Contains(t, story, "recovered: VM4 is running on B")
	require.Equal(t, "VM4 on B: changed\n  - mode=observe\n    tier=db\n", d.ok(t, "vm annotate VM4 mode-"))
}

func silentHost(t *testing.T, d devProcess) {
	d.ok(t, "sim cut A")
	out, errOut, code := d.holdfast(t, "host list")
	require.Equal(t, exitOK, code)
	require.Contains(t, out, "A     no       ?")
	require.Contains(t, errOut, "holdfast: warning: host A could not be asked: ")
	_, errOut, code = d.holdfast(t, "recover VM1")
	require.Equal(t, exitError, code)
	require.Contains(t, errOut, "these could not be asked: A")
	d.ok(t, "sim heal A")
	rig.Eventually(t, "host A", func() error {
		if out, errOut, _ := d.holdfast(t, "host list"); errOut != "" {
			return fmt.Errorf("is silent: %s%s", out, errOut)
		}
		return nil
	})
}

func personHelps(t *testing.T, d devProcess) {
	out, errOut, code := d.holdfast(t, "incident watch VM2 --wait 60s")
	require.Equal(t, exitNeedsPerson, code, "%s%s", out, errOut)
	require.Contains(t, out, "needs a person: 6 failed repairs")
	require.Contains(t, errOut, "`holdfast recover VM2`")
	rig.Eventually(t, "the list", func() error { // Temporal's index lags
		if list := d.ok(t, "incident list --needs-person"); !strings.Contains(list, "NEEDS A PERSON") {
			return fmt.Errorf("is %q", list)
		}
		return nil
	})
	d.ok(t, "sim fail-starts VM2 0")
	out = d.ok(t, "recover VM2 --watch --reason mended")
	require.Contains(t, out, "waited for a person and tries again now")
	require.Contains(t, out, "wants another try. mended")
	require.Contains(t, out, "recovered: VM2 is running on B")
}
