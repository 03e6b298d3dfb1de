package config

import (
	"time"

	"holdfast/internal/detect/rules"
)

// Monitor is how the monitor watches.
type Monitor struct {
	// Sweep is how often every host is listed in full, 1s to 10m. Between sweeps
	// the monitor lives on the events that the hosts send.
	Sweep time.Duration `yaml:"sweep"`
	// Sample is how often the statistics of every VM and host are read, 1s to 10m.
	Sample time.Duration `yaml:"sample"`
	// Pools is how often storage pools and the guests' clocks are looked at, 5s to 1h.
	Pools time.Duration `yaml:"pools"`
	// CallTimeout is the most one libvirt call may take, 100ms to 5m. After it the
	// host counts as not answering.
	CallTimeout time.Duration `yaml:"callTimeout"`
	Resay       Resay         `yaml:"resay"`
	// HungAfter is how long a VM must show no sign of life, or be paused by nobody,
	// before that is a fault: two samples to 1h.
	HungAfter time.Duration `yaml:"hungAfter"`
	// BootWithin is how long a guest agent that is expected may take to answer
	// after a start, 10s to 24h.
	BootWithin time.Duration `yaml:"bootWithin"`
	// UnreachableAfter is how long a host must be silent before that is a fault,
	// CallTimeout to 1h.
	UnreachableAfter time.Duration `yaml:"unreachableAfter"`
	// TemporalAfter is how long every report to Temporal must fail before that is a
	// fault, 5s to 1h.
	TemporalAfter time.Duration `yaml:"temporalAfter"`
	Storm         Storm         `yaml:"storm"`
	Flap          Flap          `yaml:"flap"`
	Vantages      Vantages      `yaml:"vantages"`
}

// Resay is how often the monitor repeats a fault that is still true: after
// Initial, then at growing intervals up to Max.
type Resay struct {
	Initial time.Duration `yaml:"initial"` // 1s to 10m
	Max     time.Duration `yaml:"max"`     // Initial to 1h
}

// Storm is how many hosts may fail before nothing more is done to any by itself:
// more than Share percent of the site's, and two at least, within Window.
type Storm struct {
	Share  float64       `yaml:"share"`  // 1 to 100
	Window time.Duration `yaml:"window"` // 10s to 24h
}

// Flap is when a fault that comes and goes is held: when it was raised Raises
// times within Window. It converts to rules.Flap.
type Flap struct {
	Raises int           `yaml:"raises"` // 2 to 100; 0: never
	Window time.Duration `yaml:"window"` // 1m to 24h
}

// Vantages are who else must find a host silent before it counts as
// unreachable, besides the monitor's own connection and what the host's own
// fields name.
type Vantages struct {
	Worker bool `yaml:"worker"` // the site's worker tries by itself
	TCP    bool `yaml:"tcp"`    // the monitor tries the host's ports
	// Peers are other monitors of the site, by the address that they serve /metrics
	// on, such as http://mon2.example.net:9465.
	Peers []string `yaml:"peers"`
}

func monitorSchema(d *decoder, m *Monitor) reader {
	return d.mapping(
		field{"sweep", d.duration(&m.Sweep, time.Second, 10*time.Minute)},
		field{"sample", d.duration(&m.Sample, time.Second, 10*time.Minute)},
		field{"pools", d.duration(&m.Pools, 5*time.Second, time.Hour)},
		field{"callTimeout", d.duration(&m.CallTimeout, 100*time.Millisecond, 5*time.Minute)},
		field{"resay", d.mapping(
			field{"initial", d.duration(&m.Resay.Initial, time.Second, 10*time.Minute)},
			field{"max", d.duration(&m.Resay.Max, time.Second, time.Hour)},
		)},
		field{"hungAfter", d.duration(&m.HungAfter, 2*time.Second, time.Hour)},
		field{"bootWithin", d.duration(&m.BootWithin, 10*time.Second, 24*time.Hour)},
		field{"unreachableAfter", d.duration(&m.UnreachableAfter, time.Second, time.Hour)},
		field{"temporalAfter", d.duration(&m.TemporalAfter, 5*time.Second, time.Hour)},
		field{"storm", d.mapping(
			field{"share", d.number(&m.Storm.Share, 1, 100)},
			field{"window", d.duration(&m.Storm.Window, 10*time.Second, 24*time.Hour)},
		)},
		field{"flap", d.mapping(
			field{"raises", d.integer(&m.Flap.Raises, 0, 100)},
			field{"window", d.duration(&m.Flap.Window, time.Minute, 24*time.Hour)},
		)},
		field{"vantages", d.mapping(
			field{"worker", d.boolean(&m.Vantages.Worker)},
			field{"tcp", d.boolean(&m.Vantages.TCP)},
			field{"peers", d.words(&m.Vantages.Peers, checkWebAddress)},
		)},
	)
}

// checkMonitor reports what no field of the monitor section can be blamed for alone.
func checkMonitor(d *decoder, m *Monitor) {
	if r := m.Resay; d.sound("monitor.resay") && r.Initial > r.Max {
		d.problemAt("monitor.resay.max", "raise it, or lower initial",
			"%s is less than initial, %s", rules.Short(r.Max), rules.Short(r.Initial))
	}
	if d.sound("monitor.hungAfter") && d.sound("monitor.sample") && m.HungAfter < 2*m.Sample {
		d.problemAt("monitor.hungAfter", "raise it to "+rules.Short(2*m.Sample)+" or more, or lower sample",
			"%s is less than two samples, %s apart: one that is lost would make a healthy VM look hung", rules.Short(m.HungAfter), rules.Short(m.Sample))
	}
	if d.sound("monitor.unreachableAfter") && d.sound("monitor.callTimeout") && m.UnreachableAfter < m.CallTimeout {
		d.problemAt("monitor.unreachableAfter", "raise it to "+rules.Short(m.CallTimeout)+" or more, or lower callTimeout",
			"%s is less than callTimeout, %s: a host that may still answer would count as silent", rules.Short(m.UnreachableAfter), rules.Short(m.CallTimeout))
	}
	if d.sound("monitor.flap.raises") && m.Flap.Raises == 1 {
		d.problemAt("monitor.flap.raises", "write 2 or more, or 0 for never", "1 would hold every fault")
	}
	checkOnce(d, "monitor.vantages.peers", m.Vantages.Peers)
}

// checkOnce reports items of a list that are there twice.
func checkOnce(d *decoder, path string, items []string) {
	if !d.sound(path) {
		return
	}
	first := make(map[string]bool, len(items))
	for i, item := range items {
		if first[item] {
			d.problemAt(itemPath(path, i), "list it once", "%s is there twice", quote(item))
		}
		first[item] = true
	}
}
