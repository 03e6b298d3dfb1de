package config

import (
	"fmt"
	"net"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// schema is the site file: its fields, their types and their ranges. Defaults
// are in [Default], checks that take more than one field in [crossCheck].
func schema(d *decoder, s *Site) reader {
	return d.mapping(
		field{"site", d.text(&s.Name, matching("[a-z0-9-]{1,63}"))},
		field{"mode", modeSchema(d, &s.Mode)},
		field{"hosts", d.sequence(func() reader {
			s.Hosts = append(s.Hosts, Host{})
			return hostSchema(d, &s.Hosts[len(s.Hosts)-1])
		})},
		field{"classes", d.sequence(func() reader {
			i := len(s.Classes)
			s.Classes = append(s.Classes, Class{})
			return classSchema(d, &s.Classes[i], func(n *yaml.Node, path string) {
				d.later = append(d.later, func() {
					own := s.Recovery.clone()
					recoverySchema(d, &own)(n, path)
					s.Classes[i].Recovery = &own
				})
			}, d.ofClass(func(n *yaml.Node, path string) {
				own := s.Snapshots
				snapshotsSchema(d, &own)(n, path)
				s.Classes[i].Snapshots = &own
			}))
		})},
		field{"kinds", kindsSchema(d, &s.Kinds)},
		field{"rules", d.sequence(func() reader {
			s.Rules = append(s.Rules, Rule{})
			return ruleSchema(d, &s.Rules[len(s.Rules)-1])
		})},
		field{"monitor", monitorSchema(d, &s.Monitor)},
		field{"recovery", recoverySchema(d, &s.Recovery)},
		field{"evidence", evidenceSchema(d, &s.Evidence)},
		field{"snapshots", snapshotsSchema(d, &s.Snapshots)},
		field{"backups", backupsSchema(d, &s.Backups)},
		field{"alerts", alertsSchema(d, &s.Alerts)},
		field{"listen", d.mapping(
			field{"worker", d.text(&s.Listen.Worker, checkAddress)},
			field{"monitor", d.text(&s.Listen.Monitor, checkAddress)},
		)},
	)
}

func hostSchema(d *decoder, h *Host) reader {
	return d.mapping(
		field{"name", d.text(&h.Name, matching("[A-Za-z0-9._-]{1,63}"))},
		field{"uri", d.text(&h.URI, checkURI)},
		field{"agent", d.text(&h.Agent, checkWebAddress)},
		field{"agentTokenFile", d.text(&h.AgentTokenFile, checkFile)},
		field{"power", func(n *yaml.Node, path string) {
			h.Power = &Power{}
			powerSchema(d, h.Power)(n, path)
		}},
		field{"heartbeat", d.text(&h.Heartbeat, checkFile)},
	)
}

// crossCheck reports what no field can be blamed for alone.
func crossCheck(d *decoder, s *Site) {
	checkHosts(d, s.Hosts)
	checkMonitor(d, &s.Monitor)
	checkRules(d, s)
	checkClasses(d, s)
	checkKinds(d, s)
	checkEvidence(d, s)
	checkAlerts(d, s)
	checkRecovery(d, s)
	checkSnapshots(d, s)
}

// checkHosts reports hosts that are missing, incomplete or there twice. One
// libvirtd under two names would make every VM on it look as if it ran twice.
func checkHosts(d *decoder, hosts []Host) {
	if n := d.lines["hosts"]; n == nil || isNull(n) || n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		d.problemAt("hosts", "list at least one, with name and uri", "the site has no hosts")
	}
	names, daemons, others := make(map[string]string), make(map[string]string), make(map[string]string)
	for i, h := range hosts {
		path := fmt.Sprintf("hosts[%d]", i)
		if n := d.lines[path]; n.Kind != yaml.MappingNode && !isNull(n) {
			continue // reported already, as a whole
		}
		for _, f := range []struct {
			key, id, example string
			seen             map[string]string
		}{
			{"name", h.Name, "a name, such as kvm1", names},
			{"uri", daemonOf(h.URI), "a libvirt URI, such as qemu+tls://kvm1.example.net/system", daemons},
		} {
			sub := path + "." + f.key
			switch other, twice := f.seen[f.id]; {
			case !d.given(sub):
				d.problemAt(sub, "give "+f.example, "is missing")
			case !d.sound(sub):
			case twice:
				d.problemAt(sub, "list each host once", "is the same as %s, in line %d", other, d.lines[other].Line)
			default:
				f.seen[f.id] = sub
			}
		}
		checkHostExtras(d, h, path, others)
	}
}

// checkHostExtras reports mistakes in what is optional about a host. Two hosts
// with one agent or heartbeat would look alive as long as one of them is.
func checkHostExtras(d *decoder, h Host, path string, others map[string]string) {
	for _, f := range []struct{ key, value string }{{"agent", h.Agent}, {"heartbeat", h.Heartbeat}} {
		sub := path + "." + f.key
		if f.value == "" || !d.sound(sub) {
			continue
		}
		if other, twice := others[f.key+f.value]; twice {
			d.problemAt(sub, "each host has its own", "is the same as %s, in line %d", other, d.lines[other].Line)
			continue
		}
		others[f.key+f.value] = sub
	}
	if h.AgentTokenFile != "" && h.Agent == "" && d.sound(path) {
		d.problemAt(path+".agentTokenFile", "give agent too, or leave it out", "there is no agent to show it to")
	}
	if h.Power != nil {
		checkPower(d, h.Power, path+".power")
	}
}

var (
	hostName = regexp.MustCompile(`\A[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\z`)
	digits   = regexp.MustCompile(`\A[0-9]{1,5}\z`)
)

// checkAddress wants host:port to listen on.
func checkAddress(s string) (message, hint string) {
	const form = "write host:port, such as 127.0.0.1:9464, or :9464 for every interface"
	host, port, err := net.SplitHostPort(s)
	switch {
	case err != nil:
		return quote(s) + " is not an address to listen on", form
	case host != "" && net.ParseIP(host) == nil && !hostName.MatchString(host):
		return quote(s) + " names neither an IP address nor a host", form
	}
	if n, err := strconv.Atoi(port); err != nil || !digits.MatchString(port) || n > 65535 {
		return quote(s) + " has no valid port", "allowed: 0 to 65535; 0 takes a free one"
	}
	return "", ""
}
