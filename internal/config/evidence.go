package config

import (
	"os"
	"strings"
	"time"

	"holdfast/internal/ladder"
)

// Evidence is what workers keep of a VM before they do something to it that
// destroys state.
type Evidence struct {
	// Dir is the whole path of the folder for it, on each worker's machine; empty:
	// none is kept.
	Dir string `yaml:"dir,omitempty"`
	// Keep is how long an incident's evidence stays after the last was added, 1h to
	// 8760h.
	Keep time.Duration `yaml:"keep"`
	// MaxTotal and MaxIncident bound what a worker keeps, in all and of one incident,
	// 1MiB to 1024GiB. Of the total the oldest goes first.
	MaxTotal    Bytes `yaml:"maxTotal"`
	MaxIncident Bytes `yaml:"maxIncident"`
	// Timeout is how long a repair waits for evidence, 500ms to 10s.
	Timeout time.Duration `yaml:"timeout"`
	// Dump is whether the guest's memory is kept as well.
	Dump Dump `yaml:"dump,omitempty"`
	// TokenFile is the file with the bearer token that whoever fetches evidence must
	// show; empty: it is given to the worker's own machine alone.
	TokenFile string `yaml:"tokenFile,omitempty"`
	// URL is where a worker's listen address is reached from outside. {hostname} in
	// it stands for the name of the worker's machine. Empty: where it listens.
	URL string `yaml:"url,omitempty"`
}

// Dump is where the memory of a guest goes before it is lost.
type Dump struct {
	// Pool is a storage pool with a folder that each host has; empty: memory is not kept.
	Pool string `yaml:"pool"`
	// MaxSize is the most memory that a VM may have for it, 1MiB to 1024GiB.
	MaxSize Bytes `yaml:"maxSize"`
	// Within is how long a repair waits for it, 1s to 30m.
	Within time.Duration `yaml:"within"`
}

// IsZero has a section without a pool left out.
func (d Dump) IsZero() bool { return d.Pool == "" }

func (d Dump) policy() ladder.Dump {
	if d.Pool == "" {
		return ladder.Dump{}
	}
	return ladder.Dump{Pool: d.Pool, MaxBytes: uint64(d.MaxSize), Within: d.Within}
}

// Hostname stands for the name of the worker's machine in [Evidence].URL.
const Hostname = "{hostname}"

// URLOf is where the worker on this machine is reached; empty if that is not said.
func (e Evidence) URLOf() (string, error) {
	if !strings.Contains(e.URL, Hostname) {
		return strings.TrimRight(e.URL, "/"), nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", err
	}
	return strings.TrimRight(strings.ReplaceAll(e.URL, Hostname, name), "/"), nil
}

func evidenceSchema(d *decoder, e *Evidence) reader {
	const least, most = 1 << 20, 1 << 40
	return d.mapping(
		field{"dir", d.text(&e.Dir, checkFolder)},
		field{"keep", d.duration(&e.Keep, time.Hour, 8760*time.Hour)},
		field{"maxTotal", d.size(&e.MaxTotal, least, most)},
		field{"maxIncident", d.size(&e.MaxIncident, least, most)},
		field{"timeout", d.duration(&e.Timeout, 500*time.Millisecond, 10*time.Second)},
		field{"dump", d.mapping(
			field{"pool", d.text(&e.Dump.Pool, checkPoolName)},
			field{"maxSize", d.size(&e.Dump.MaxSize, least, most)},
			field{"within", d.duration(&e.Dump.Within, time.Second, 30*time.Minute)},
		)},
		field{"tokenFile", d.text(&e.TokenFile, checkFile)},
		field{"url", d.text(&e.URL, checkWorkerURL)},
	)
}

// checkWorkerURL wants an http or https URL of a worker.
func checkWorkerURL(s string) (message, hint string) {
	plain := strings.ReplaceAll(s, Hostname, "worker")
	if strings.ContainsAny(plain, "{}") {
		return quote(s) + " has a name in braces that is not known", "known: " + Hostname
	}
	if message, _ := checkWebAddress(plain); message != "" {
		return message, "write it like http://" + Hostname + ":9464"
	}
	return "", ""
}

// checkEvidence reports what no field of the evidence section can be blamed for alone.
func checkEvidence(d *decoder, s *Site) {
	e := &s.Evidence
	if d.sound("evidence.maxTotal") && d.sound("evidence.maxIncident") && e.MaxIncident > e.MaxTotal {
		d.problemAt("evidence.maxIncident", "lower it, or raise maxTotal", "%s is more than maxTotal, %s", e.MaxIncident, e.MaxTotal)
	}
	if !d.sound("evidence.dir") || e.Dir != "" {
		return
	}
	for _, f := range []struct{ key, value string }{{"dump.pool", e.Dump.Pool}, {"tokenFile", e.TokenFile}, {"url", e.URL}} {
		if f.value != "" && d.sound("evidence."+f.key) {
			d.problemAt("evidence."+f.key, "give dir too, or leave it out", "there is no evidence to keep or to fetch")
		}
	}
}
