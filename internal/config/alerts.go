package config

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"holdfast/internal/fault"
)

// Alerts is how alerts of others come in, and alarms go out.
type Alerts struct {
	In  AlertsIn  `yaml:"in"`
	Out AlertsOut `yaml:"out"`
}

// AlertsIn is where POST /api/v2/alerts is served, and what alerts are about.
type AlertsIn struct {
	// Listen is host:port; empty: alerts are not taken.
	Listen string `yaml:"listen,omitempty"`
	// TokenFile is the file with the bearer token that senders must show; empty:
	// none, which only an address of this machine, or TLS.ClientCA, allows.
	TokenFile string    `yaml:"tokenFile,omitempty"`
	TLS       AlertsTLS `yaml:"tls,omitempty"`
	MaxBody   Bytes     `yaml:"maxBody"` // of one request, 1KiB to 64MiB
	Rate      float64   `yaml:"rate"`    // requests/s, 0.1 to 10000
	Burst     int       `yaml:"burst"`   // requests at once, 1 to 10000
	// VM and Host are labels that may name one, in order.
	VM    []string    `yaml:"vm"`
	Host  []string    `yaml:"host"`
	Kinds []AlertKind `yaml:"kinds,omitempty"`
}

// AlertsTLS are the PEM files of the server's side; all empty: no TLS.
type AlertsTLS struct {
	Cert     string `yaml:"cert,omitempty"`
	Key      string `yaml:"key,omitempty"`
	ClientCA string `yaml:"clientCA,omitempty"` // senders need a certificate from it
}

// AlertKind gives alerts with all these labels a kind.
type AlertKind struct {
	Match map[string]string `yaml:"match"`
	Kind  fault.Kind        `yaml:"kind"`
}

// AlertsOut is where alarms go.
type AlertsOut struct {
	Alertmanager []Target `yaml:"alertmanager,omitempty"`
	Webhook      []Target `yaml:"webhook,omitempty"`
}

// Target is one place that alarms go to.
type Target struct {
	URL       string `yaml:"url"` // http or https, without a password
	TokenFile string `yaml:"tokenFile,omitempty"`
	CAFile    string `yaml:"caFile,omitempty"` // PEM; empty: what this machine trusts
}

func alertsSchema(d *decoder, a *Alerts) reader {
	in := &a.In
	return d.mapping(
		field{"in", d.mapping(
			field{"listen", d.text(&in.Listen, checkAddress)},
			field{"tokenFile", d.text(&in.TokenFile, checkFile)},
			field{"tls", d.mapping(
				field{"cert", d.text(&in.TLS.Cert, checkFile)},
				field{"key", d.text(&in.TLS.Key, checkFile)},
				field{"clientCA", d.text(&in.TLS.ClientCA, checkFile)},
			)},
			field{"maxBody", d.size(&in.MaxBody, 1<<10, 64<<20)},
			field{"rate", d.number(&in.Rate, 0.1, 10000)},
			field{"burst", d.integer(&in.Burst, 1, 10000)},
			field{"vm", d.words(&in.VM, checkAlertLabel)},
			field{"host", d.words(&in.Host, checkAlertLabel)},
			field{"kinds", d.sequence(func() reader {
				in.Kinds = append(in.Kinds, AlertKind{})
				k := &in.Kinds[len(in.Kinds)-1]
				return d.mapping(
					field{"match", d.labels(&k.Match, checkAlertMatch)},
					field{"kind", oneOf(d, &k.Kind, alertKinds()...)},
				)
			})},
		)},
		field{"out", d.mapping(
			field{"alertmanager", targetsSchema(d, &a.Out.Alertmanager)},
			field{"webhook", targetsSchema(d, &a.Out.Webhook)},
		)},
	)
}

func targetsSchema(d *decoder, to *[]Target) reader {
	return d.sequence(func() reader {
		*to = append(*to, Target{})
		t := &(*to)[len(*to)-1]
		return d.mapping(
			field{"url", d.text(&t.URL, checkWebAddress)},
			field{"tokenFile", d.text(&t.TokenFile, checkFile)},
			field{"caFile", d.text(&t.CAFile, checkFile)},
		)
	})
}

// alertKinds are the kinds that an alert from outside can be of.
func alertKinds() []fault.Kind {
	var kinds []fault.Kind
	for _, k := range fault.Kinds() {
		if s := k.Subject(); k != fault.KindRequested && (s == fault.SubjectVM || s == fault.SubjectHost) {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

var checkAlertLabel = matching("[A-Za-z_][A-Za-z0-9_]*")

func checkAlertMatch(name, value string) (message, hint string) {
	if value == "" {
		return "the label " + name + " has no value", "an alert without the label would match: give it one"
	}
	return checkAlertLabel(name)
}

// checkWebAddress wants an http or https URL. What it returns shows none of it:
// the path of a webhook often is a secret.
func checkWebAddress(s string) (message, hint string) {
	const form = "write it like http://am.example.net:9093"
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme == "" || u.Opaque != "":
		return "is not a URL", form
	case u.Scheme != "http" && u.Scheme != "https":
		return "has the scheme " + quote(u.Scheme), form
	case u.Hostname() == "":
		return "names no host", form
	case u.Port() != "" && !validPort(u.Port()):
		return "has the port " + quote(u.Port()), "allowed: 1 to 65535"
	case u.User != nil:
		return "holds a user or a password, and a site file is no place for one", "put a token into a file of its own, and name that in tokenFile"
	case u.Fragment != "":
		return "has a fragment", "leave out # and what follows"
	}
	return "", ""
}

// checkAlerts reports what no field of the alerts section can be blamed for alone.
func checkAlerts(d *decoder, s *Site) {
	in := &s.Alerts.In
	files := in.TLS
	switch {
	case !d.sound("alerts.in.tls"):
	case files.Cert == "" && files != AlertsTLS{}:
		d.problemAt("alerts.in.tls.cert", "give cert and key, or leave tls out", "is missing")
	case files.Key == "" && files != AlertsTLS{}:
		d.problemAt("alerts.in.tls.key", "give cert and key, or leave tls out", "is missing")
	case d.sound("alerts.in.listen") && d.sound("alerts.in.tokenFile") && in.Listen != "" && !local(in.Listen) && in.TokenFile == "" && files.ClientCA == "":
		d.problemAt("alerts.in.listen", "set tokenFile or tls.clientCA, or listen on 127.0.0.1",
			"anybody who reaches %s could have VMs restarted", quote(in.Listen))
	}
	if d.sound("alerts.in.listen") && in.Listen != "" && in.Listen == s.Listen.Monitor && !strings.HasSuffix(in.Listen, ":0") {
		d.problemAt("alerts.in.listen", "take another port", "is the same as listen.monitor")
	}
	if d.sound("alerts.in.vm") && d.sound("alerts.in.host") && len(in.VM) == 0 && len(in.Host) == 0 {
		d.problemAt("alerts.in.vm", "name at least one label, in vm or in host", "no alert would be about anything")
	}
	for i, k := range in.Kinds {
		path := itemPath("alerts.in.kinds", i)
		if d.sound(path) && len(k.Match) == 0 {
			d.problemAt(path+".match", "name at least one label, such as alertname", "is missing, or matches every alert")
		}
		if d.sound(path) && k.Kind == "" {
			d.problemAt(path+".kind", "name the kind of fault", "is missing")
		}
	}
	checkTargets(d, "alerts.out.alertmanager", s.Alerts.Out.Alertmanager)
	checkTargets(d, "alerts.out.webhook", s.Alerts.Out.Webhook)
}

func checkTargets(d *decoder, path string, targets []Target) {
	seen := make(map[string]int, len(targets))
	for i, t := range targets {
		at := itemPath(path, i)
		other, twice := seen[t.URL]
		switch {
		case !d.sound(at):
		case t.URL == "":
			d.problemAt(at+".url", "give its address, such as http://am.example.net:9093", "is missing")
		case twice:
			d.problemAt(at+".url", "list it once", "is the same as %s.url", itemPath(path, other))
		}
		seen[t.URL] = i
	}
}

// local reports an address that only this machine reaches.
func local(address string) bool {
	host, _, _ := net.SplitHostPort(address) // which checkAddress has done before
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func itemPath(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }
