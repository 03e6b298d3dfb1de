package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"holdfast/test/lab/internal/netns"
	"holdfast/test/lab/internal/sampler"
)

// A vantage is a place from which the lab's hosts are looked at, besides the root
// namespace: a network namespace on the lab's switch, with an address of its
// own. The switch can be told to carry nothing between it and some hosts.

// Limits of a lab's vantages.
const (
	MaxVantages  = 50
	firstVantage = 101 // last byte of the first one's address
)

// Vantage is a place that a program can run in.
type Vantage struct {
	Name    string `json:"name"`
	NetNS   string `json:"netns"`
	Address string `json:"address"` // in the lab's subnet; hosts, the root namespace and other vantages reach it
	// Cut are the hosts that it is cut off from.
	Cut []string `json:"cut"`
	// Forwards are the addresses of the root namespace that Forward was asked for,
	// and the addresses inside that lead there.
	Forwards map[string]string `json:"forwards"`
}

// Argv is what runs a program in the vantage: for whoever starts programs from
// a list of arguments. There is no process in between, so that signals reach it.
func (v Vantage) Argv(program string, args ...string) []string {
	return append([]string{"nsenter", "--net=" + netns.Path(v.NetNS), "--", program}, args...)
}

// Command is exec.CommandContext for a program that runs in the vantage.
func (v Vantage) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	argv := v.Argv(program, args...)
	return exec.CommandContext(ctx, argv[0], argv[1:]...)
}

// Twelve characters at most: with "v-" it names a port of the switch.
var validVantage = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?$`)

// vantageNetNS is the namespace of a vantage. No host and no switch is called so.
func vantageNetNS(id, name string) string { return namespacePrefix(id) + vantagePort(name) }

// vantagePort is the port of the switch that a vantage is on.
func vantagePort(name string) string { return "v-" + name }

func (l *Lab) vantageFile(name string) string { return l.file("vantages", name+".json") }

// parent is the folder that the lab's folder is in.
func (l *Lab) parent() string { return filepath.Dir(l.info.Dir) }

// Vantages are those that there are, in order of their names.
func (l *Lab) Vantages() ([]Vantage, error) {
	files, err := filepath.Glob(l.vantageFile("*"))
	if err != nil {
		return nil, err
	}
	vantages := []Vantage{}
	for _, file := range files {
		var v Vantage
		err := readJSON(file, &v)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		vantages = append(vantages, v)
	}
	return vantages, nil
}

// onVantages calls do with the lab locked, so that it is not taken down and
// nobody else changes its vantages meanwhile.
func (l *Lab) onVantages(ctx context.Context, do func() error) error {
	unlock, err := lock(ctx, l.info.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(l.file("lab.json")); errors.Is(err, fs.ErrNotExist) {
		_ = os.Remove(l.info.Dir) // if the lock has made it
		return fmt.Errorf("%w: %s was taken down", ErrNotFound, l.info.Name)
	}
	return do()
}

// vantage finds a vantage by name.
func (l *Lab) vantage(name string) (Vantage, error) {
	var v Vantage
	if validVantage.MatchString(name) { // or else it may name another file
		err := readJSON(l.vantageFile(name), &v)
		if !errors.Is(err, fs.ErrNotExist) {
			return v, err
		}
	}
	return v, fmt.Errorf("lab %s has no vantage %q; `lab vantage list` shows those it has, `lab vantage add %s` makes it", l.info.Name, name, name)
}

// Vantage makes a vantage, from which every host can be reached. It lasts until
// RemoveVantage or Down, which also end what runs in it.
func (l *Lab) Vantage(ctx context.Context, name string) (Vantage, error) {
	v := Vantage{Name: name, NetNS: vantageNetNS(l.id, name), Cut: []string{}, Forwards: map[string]string{}}
	if !validVantage.MatchString(name) {
		return v, fmt.Errorf("vantage %q: use 1 to 12 lower-case letters, digits and inner hyphens, such as %q", name, "mon1")
	}
	err := l.onVantages(ctx, func() error {
		others, err := l.Vantages()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(others, func(o Vantage) bool { return o.Name == name }) {
			return fmt.Errorf("lab %s has a vantage %s; `lab vantage remove %s` removes it", l.info.Name, name, name)
		}
		if v.Address, err = l.freeVantage(others); err != nil {
			return err
		}
		// Written down before it is made.
		if err := os.MkdirAll(l.file("vantages"), 0o755); err != nil {
			return err
		}
		if err := writeJSON(l.vantageFile(name), v); err != nil {
			return err
		}
		if err := l.makeVantage(ctx, v); err != nil {
			clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
			defer cancel()
			return errors.Join(err, l.removeVantage(clean, v))
		}
		return nil
	})
	return v, err
}

// freeVantage is an address that no vantage has.
func (l *Lab) freeVantage(others []Vantage) (string, error) {
	network, err := netip.ParsePrefix(l.info.Subnet)
	if err != nil {
		return "", fmt.Errorf("lab %s has no network yet: %w", l.info.Name, err)
	}
	for i := range MaxVantages {
		candidate := address(network, firstVantage+i).String()
		if !slices.ContainsFunc(others, func(o Vantage) bool { return o.Address == candidate }) {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("lab %s has %d vantages, which is all it can have", l.info.Name, MaxVantages)
}

func (l *Lab) makeVantage(ctx context.Context, v Vantage) error {
	if err := netns.Create(ctx, v.NetNS); err != nil {
		return err
	}
	if err := netns.IP(ctx, switchNetNS(l.id),
		fmt.Sprintf("link add %s type veth peer name eth0 address %s netns %s", vantagePort(v.Name), macAddress(l.id, vantagePort(v.Name)), v.NetNS),
		fmt.Sprintf("link set %s master br0 up", vantagePort(v.Name)),
	); err != nil {
		return err
	}
	return netns.IP(ctx, v.NetNS,
		"link set eth0 addrgenmode none", // no IPv6, which a cut would have to stop, too
		fmt.Sprintf("addr add %s/24 dev eth0", v.Address),
		"link set eth0 up")
}

// RemoveVantage removes a vantage with all that runs in it.
func (l *Lab) RemoveVantage(ctx context.Context, name string) error {
	return l.onVantages(ctx, func() error {
		v, err := l.vantage(name)
		if err != nil {
			return err
		}
		return l.removeVantage(ctx, v)
	})
}

// removeVantage does the work of RemoveVantage, on whatever there is of it.
func (l *Lab) removeVantage(ctx context.Context, v Vantage) error {
	if err := endAll(ctx, func() ([]int, error) { return l.relays(v.Name, "") }); err != nil {
		return err
	}
	err := netns.IP(ctx, switchNetNS(l.id), "link del "+vantagePort(v.Name))
	if err != nil && !strings.Contains(err.Error(), "Cannot find device") {
		return err
	}
	if err := removeNamespaces(ctx, []string{v.NetNS}); err != nil {
		return err
	}
	if err := os.Remove(l.vantageFile(v.Name)); err != nil {
		return err
	}
	return l.setCuts(ctx)
}

// CutVantage drops all packets between a vantage and hosts, or if none are named
// all hosts, without a word to either: what is sent vanishes, and a connection
// attempt waits until its own time is over. Others reach those hosts as before,
// and the vantage reaches all others. It returns the time right before it took
// effect.
func (l *Lab) CutVantage(ctx context.Context, name string, hosts ...string) (time.Time, error) {
	return l.changeCut(ctx, "cut-vantage", name, hosts, func(v *Vantage, host string) {
		if !slices.Contains(v.Cut, host) {
			v.Cut = append(v.Cut, host)
		}
	})
}

// HealVantage ends what CutVantage began, for hosts, or if none are named for
// all. It returns the time right before it took effect.
func (l *Lab) HealVantage(ctx context.Context, name string, hosts ...string) (time.Time, error) {
	return l.changeCut(ctx, "heal-vantage", name, hosts, func(v *Vantage, host string) {
		v.Cut = slices.DeleteFunc(v.Cut, func(cut string) bool { return cut == host })
	})
}

// changeCut does something to the cut of each host that is meant, and then what
// follows from it to the switch.
func (l *Lab) changeCut(ctx context.Context, what, name string, hosts []string, change func(*Vantage, string)) (time.Time, error) {
	if len(hosts) == 0 {
		for _, h := range l.info.Hosts {
			hosts = append(hosts, h.Name)
		}
	}
	var at time.Time
	err := l.onVantages(ctx, func() error {
		v, err := l.vantage(name)
		if err != nil {
			return err
		}
		for _, host := range hosts {
			if _, err := l.host(host); err != nil {
				return err
			}
			change(&v, host)
		}
		slices.Sort(v.Cut)
		if err := writeJSON(l.vantageFile(name), v); err != nil {
			return err
		}
		at = time.Now().UTC()
		err = l.setCuts(ctx)
		var events []sampler.Event
		for _, host := range hosts {
			event := sampler.Event{At: at, Event: SampleFault, Host: host, Fault: what, Detail: name}
			if err != nil {
				event.Detail += ": " + err.Error()
			}
			events = append(events, event)
		}
		return errors.Join(err, sampler.Append(l.eventLog(), events...))
	})
	return at, err
}

// setCuts gives the switch the rules that follow from all vantages' cuts, in
// place of those it has, at one stroke. They go by the ports' names, so that
// they hold when a host gets its power back. ARP passes: without it the sender's
// kernel would soon say that there is no such host.
func (l *Lab) setCuts(ctx context.Context) error {
	vantages, err := l.Vantages()
	if err != nil {
		return err
	}
	var rules strings.Builder
	rules.WriteString("*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\n")
	for _, v := range vantages {
		for _, host := range v.Cut {
			fmt.Fprintf(&rules, "-A FORWARD -p IPv4 -i %[1]s -o %[2]s -j DROP\n-A FORWARD -p IPv4 -i %[2]s -o %[1]s -j DROP\n", vantagePort(v.Name), host)
		}
	}
	cmd := exec.CommandContext(ctx, "nsenter", "--net="+netns.Path(switchNetNS(l.id)), "--", "ebtables-nft-restore")
	cmd.Stdin = strings.NewReader(rules.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cut or heal on the lab's switch: ebtables-nft-restore, of Debian's package iptables: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
