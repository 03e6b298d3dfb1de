// Package config reads the site file: which hosts a worker or a monitor looks
// after, how often and how patiently, and when a person is asked.
//
// The file is YAML. An annotated example with every field and its default is
// docs/site.example.yaml. A mistake in a file that decides over other people's
// machines is never skipped over: unknown fields, values without a unit and
// values out of range are errors, all of them reported at once as [Errors], each
// with its line and the field's path.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"go.yaml.in/yaml/v3"

	"holdfast/internal/detect"
	"holdfast/internal/evidence"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
)

// maxSize bounds the site file, in bytes. A thousand hosts take about 80 KiB.
const maxSize = 4 << 20

// Site is a site file with every default filled in. Marshalled as YAML it is a
// valid site file again.
type Site struct {
	// Name of the site, [a-z0-9-]{1,63}. It is part of workflow IDs and of the
	// task queue holdfast.site.<name>: renaming a site orphans its open incidents.
	Name string `yaml:"site"`
	// Mode is ModeObserve or ModeRepair, for what nothing more specific sets. See
	// [Site.ModeFor].
	Mode string `yaml:"mode"`
	// Hosts in the order of the file. At least one; names and URIs are unique.
	Hosts []Host `yaml:"hosts"`
	// Classes of VMs, of which the first that fits counts.
	Classes []Class                   `yaml:"classes,omitempty"`
	Kinds   map[fault.Kind]KindPolicy `yaml:"kinds,omitempty"`
	// Rules change the default ones, or add to them. See [Site.RuleSet].
	Rules    []Rule   `yaml:"rules,omitempty"`
	Monitor  Monitor  `yaml:"monitor"`
	Recovery Recovery `yaml:"recovery"`
	Evidence Evidence `yaml:"evidence"`
	// Snapshots are those that a schedule makes. See [Site.SnapshotsFor].
	Snapshots Snapshots `yaml:"snapshots"`
	Backups   Backups   `yaml:"backups,omitempty"`
	Alerts    Alerts    `yaml:"alerts"`
	Listen    Listen    `yaml:"listen"`
}

// Host is one libvirtd and the machine under it.
type Host struct {
	// Name is what Holdfast calls the host everywhere, [A-Za-z0-9._-]{1,63}.
	// It need not be its DNS name.
	Name string `yaml:"name"`
	// URI is the libvirt connection URI. It holds no password.
	URI string `yaml:"uri"`
	// Agent is where `holdfast agent` on the host is reached, such as
	// http://kvm1.example.net:9467; empty: there is none.
	Agent string `yaml:"agent,omitempty"`
	// AgentTokenFile is the file with the token that it wants; empty: it wants none.
	AgentTokenFile string `yaml:"agentTokenFile,omitempty"`
	// Power is how to ask its power supply; nil: it cannot be asked.
	Power *Power `yaml:"power,omitempty"`
	// Heartbeat is the file on shared storage that the host's agent renews; empty:
	// there is none.
	Heartbeat string `yaml:"heartbeat,omitempty"`
}

// Listen holds the addresses, host:port, that each role serves /metrics, /healthz
// and /readyz on. Port 0 takes a free one.
type Listen struct {
	Worker  string `yaml:"worker"`
	Monitor string `yaml:"monitor"`
}

// Default returns the values that a site file need not mention. It has no hosts.
func Default() Site {
	d := detect.DefaultOptions()
	return Site{
		Name: "default",
		Mode: ModeObserve,
		Monitor: Monitor{
			Sweep:            10 * time.Second,
			Sample:           d.Period,
			Pools:            d.PoolsPeriod,
			CallTimeout:      5 * time.Second,
			Resay:            Resay{Initial: 10 * time.Second, Max: 5 * time.Minute},
			HungAfter:        d.HungAfter,
			BootWithin:       d.BootWithin,
			UnreachableAfter: d.UnreachableAfter,
			TemporalAfter:    30 * time.Second,
			Storm:            Storm{Share: d.StormShare, Window: d.StormWindow},
			Flap:             Flap{Raises: d.Flap.Raises, Window: d.Flap.Window},
			Vantages:         Vantages{Worker: true, TCP: true},
		},
		Recovery: defaultRecovery(), Snapshots: defaultSnapshots(),
		Evidence: Evidence{
			Keep: evidence.DefaultKeep, MaxTotal: evidence.DefaultMaxTotal, MaxIncident: evidence.DefaultMaxIncident,
			Timeout: 5 * time.Second, Dump: Dump{MaxSize: 8 << 30, Within: ladder.DefaultDumpWithin},
		},
		Alerts: Alerts{In: AlertsIn{
			MaxBody: 1 << 20, Rate: 50, Burst: 100,
			VM: []string{"vm", "domain", "instance"}, Host: []string{"host", "node", "instance"},
		}},
		Listen: Listen{Worker: "127.0.0.1:9464", Monitor: "127.0.0.1:9465"},
	}
}

// Load reads the site file at path. A file that cannot be read is reported with
// the cause, so that errors.Is(err, fs.ErrNotExist) works; a file that is wrong,
// as [Errors].
func Load(path string) (*Site, error) {
	data, err := read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read site file: %w; start from docs/site.example.yaml", err)
	case err != nil:
		return nil, fmt.Errorf("read site file: %w", err)
	}
	return Parse(path, data)
}

// read returns the file's content, at most one byte more than [maxSize] of it:
// Parse refuses that, and a device file given by mistake does not fill the memory.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSize+1))
}

// Parse reads a site file from memory. The name stands for the file in errors,
// which are always of type [Errors].
func Parse(name string, data []byte) (*Site, error) {
	d := &decoder{file: name, lines: make(map[string]*yaml.Node), broken: make(map[string]bool)}
	site := Default()
	if root := d.document(data); root != nil {
		schema(d, &site)(root, "")
		for _, read := range d.later {
			read()
		}
		if root.Kind == yaml.MappingNode { // anything else is reported as a whole
			crossCheck(d, &site)
		}
	}
	if len(d.problems) > 0 {
		return nil, d.problems.sorted()
	}
	return &site, nil
}
