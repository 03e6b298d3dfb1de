package config

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"holdfast/internal/detect/rules"
	"holdfast/internal/fault"
	"holdfast/internal/ladder"
)

// Recovery is how the repair of a VM goes about it: of all VMs of the site, or of
// a class.
type Recovery struct {
	// MaxFailures is how many repairs may fail within Window before a person is
	// asked, 1 to 100.
	MaxFailures int `yaml:"maxFailures"`
	// Window is how far back failures count, 10s to 24h. It is long enough for
	// MaxFailures repairs with the waits that Backoff puts between them.
	Window time.Duration `yaml:"window"`
	// Desired is the state that a VM is brought back to, running or as-found.
	Desired string `yaml:"desired"`
	// Priority of its repairs over others, 1, first, to 5.
	Priority int     `yaml:"priority"`
	Backoff  Backoff `yaml:"backoff"`
	Verify   Verify  `yaml:"verify"`
	// Budgets are how often rungs may fail within Window before they are passed over,
	// 1 to 100. For a restart that is MaxFailures.
	Budgets map[ladder.Rung]int `yaml:"budgets,omitempty"`
	// Forbidden are rungs that are never climbed.
	Forbidden []ladder.Rung `yaml:"forbidden,flow"`
	Approval  Approval      `yaml:"approval"`
}

// Approval is what a person has to want before it is done.
type Approval struct {
	// Rungs that have to be approved each time.
	Rungs []ladder.Rung `yaml:"rungs,flow"`
	// Timeout is how long an answer is waited for before Then is done, up to 168h;
	// 0: for ever.
	Timeout time.Duration   `yaml:"timeout"`
	Then    ladder.Fallback `yaml:"then"`
}

// Backoff is the wait after a failed repair: Initial, then each time Factor
// times the last wait, up to Max.
type Backoff struct {
	Initial time.Duration `yaml:"initial"` // 100ms to 1h
	Max     time.Duration `yaml:"max"`     // Initial to 1h
	Factor  float64       `yaml:"factor"`  // 1 to 10; 1 is a constant wait
}

// Verify is when a repair counts as done.
type Verify struct {
	// StableFor is how long a VM must stay running, 0s to 10m.
	StableFor time.Duration `yaml:"stableFor"`
	// Within is how long what follows may take to pass, 1s to 1h.
	Within time.Duration `yaml:"within"`
	// Agent is whether its guest agent must answer: auto, if its annotation says that
	// one is expected; required, ignored.
	Agent string `yaml:"agent"`
	// TCP is host:port that must accept a connection, HTTP a URL that must answer with
	// 2xx, Command what must exit with 0 in the guest.
	TCP     string   `yaml:"tcp,omitempty"`
	HTTP    string   `yaml:"http,omitempty"`
	Command []string `yaml:"command,omitempty,flow"`
}

// defaultRecovery is that of a site that says nothing.
func defaultRecovery() Recovery {
	return Recovery{
		MaxFailures: 5,
		Window:      10 * time.Minute,
		Desired:     ladder.DesiredRunning,
		Priority:    ladder.DefaultPriority,
		Backoff:     Backoff{Initial: time.Second, Max: time.Minute, Factor: 2},
		Verify:      Verify{StableFor: 5 * time.Second, Within: 2 * time.Minute, Agent: ladder.AgentAuto},
		Approval:    Approval{Rungs: ladder.DefaultApproval(), Then: ladder.FallbackEscalate},
	}
}

// clone shares nothing with r that reading a class could change.
func (r Recovery) clone() Recovery {
	r.Budgets = maps.Clone(r.Budgets)
	r.Forbidden, r.Approval.Rungs = slices.Clone(r.Forbidden), slices.Clone(r.Approval.Rungs)
	r.Verify.Command = slices.Clone(r.Verify.Command)
	return r
}

// Policy is what the ladder decides by.
func (r Recovery) Policy() ladder.Policy {
	return ladder.Policy{
		MaxFailures: r.MaxFailures, Window: r.Window, Desired: r.Desired, Priority: r.Priority,
		BackoffInitial: r.Backoff.Initial, BackoffMax: r.Backoff.Max, BackoffFactor: r.Backoff.Factor,
		StableFor: r.Verify.StableFor,
		Probes:    ladder.Probes{Agent: r.Verify.Agent, TCP: r.Verify.TCP, HTTP: r.Verify.HTTP, Command: r.Verify.Command, Within: r.Verify.Within},
		Budgets:   r.Budgets, Forbidden: r.Forbidden,
		Approval: r.Approval.Rungs, ApprovalTimeout: r.Approval.Timeout, ApprovalThen: r.Approval.Then,
	}
}

func recoverySchema(d *decoder, r *Recovery) reader {
	return d.mapping(
		field{"maxFailures", d.integer(&r.MaxFailures, 1, 100)},
		field{"window", d.duration(&r.Window, 10*time.Second, 24*time.Hour)},
		field{"desired", oneOf(d, &r.Desired, ladder.DesiredRunning, ladder.DesiredAsFound)},
		field{"priority", d.integer(&r.Priority, 1, 5)},
		field{"backoff", d.mapping(
			field{"initial", d.duration(&r.Backoff.Initial, 100*time.Millisecond, time.Hour)},
			field{"max", d.duration(&r.Backoff.Max, 100*time.Millisecond, time.Hour)},
			field{"factor", d.number(&r.Backoff.Factor, 1, 10)},
		)},
		field{"verify", d.mapping(
			field{"stableFor", d.duration(&r.Verify.StableFor, 0, 10*time.Minute)},
			field{"within", d.duration(&r.Verify.Within, time.Second, time.Hour)},
			field{"agent", oneOf(d, &r.Verify.Agent, ladder.AgentAuto, ladder.AgentRequired, ladder.AgentIgnored)},
			field{"tcp", d.text(&r.Verify.TCP, checkAddress)},
			field{"http", d.text(&r.Verify.HTTP, checkWebAddress)},
			field{"command", d.words(&r.Verify.Command, checkArgument)},
		)},
		field{"budgets", budgetsSchema(d, &r.Budgets)},
		field{"forbidden", rungsSchema(d, &r.Forbidden)},
		field{"approval", d.mapping(
			field{"rungs", rungsSchema(d, &r.Approval.Rungs)},
			field{"timeout", d.duration(&r.Approval.Timeout, 0, 168*time.Hour)},
			field{"then", oneOf(d, &r.Approval.Then, ladder.FallbackEscalate, ladder.FallbackReject, ladder.FallbackApprove)},
		)},
	)
}

// rungsSchema reads a list of rungs of a VM, in place of the one that was there.
func rungsSchema(d *decoder, to *[]ladder.Rung) reader {
	return func(n *yaml.Node, path string) {
		var words []string
		d.words(&words, checkRung)(n, path)
		if isNull(n) {
			return
		}
		*to = nil
		seen := make(map[string]bool, len(words))
		for i, w := range words {
			*to = append(*to, ladder.Rung(w))
			if seen[w] && d.sound(itemPath(path, i)) {
				d.problemAt(itemPath(path, i), "list each rung once", "is there twice")
			}
			seen[w] = true
		}
	}
}

func checkRung(s string) (message, hint string) {
	known := make([]string, 0, len(ladder.VMRungs()))
	for _, r := range ladder.VMRungs() {
		known = append(known, string(r))
	}
	if !slices.Contains(known, s) {
		return quote(s) + " is no rung", didYouMean(s, known)
	}
	return "", ""
}

func budgetsSchema(d *decoder, to *map[ladder.Rung]int) reader {
	return d.entries(func(key string) (string, string) {
		switch ladder.Rung(key) {
		case ladder.RungRestart:
			return "has a budget for restart", "that is maxFailures"
		case ladder.RungPerson:
			return "has a budget for a person", "leave it out: a person is what comes when all budgets are used up"
		}
		return checkRung(key)
	}, func(key string) reader {
		var n int
		read := d.integer(&n, 1, 100)
		return func(node *yaml.Node, path string) {
			read(node, path)
			if *to == nil {
				*to = make(map[ladder.Rung]int)
			}
			(*to)[ladder.Rung(key)] = n
		}
	})
}

func checkRecovery(d *decoder, s *Site) {
	s.Recovery.check(d, "recovery")
	for i, c := range s.Classes {
		if c.Recovery != nil {
			c.Recovery.check(d, itemPath("classes", i)+".recovery")
		}
	}
}

// check reports what no field can be blamed for alone.
func (r Recovery) check(d *decoder, path string) {
	b := r.Backoff
	if d.sound(path+".backoff") && b.Initial > b.Max {
		d.problemAt(path+".backoff.max", "raise it, or lower initial",
			"%s is less than initial, %s", rules.Short(b.Max), rules.Short(b.Initial))
	}
	if !d.sound(path) {
		return
	}
	if least := r.shortestCrashLoop(); least >= r.Window {
		d.problemAt(path+".window", fmt.Sprintf("set it above %s, or lower maxFailures or backoff.max", rules.Short(least.Round(time.Second))),
			"within %s there cannot be %d failures, because backoff alone puts %s between the first and the last: nobody would ever be asked",
			rules.Short(r.Window), r.MaxFailures, rules.Short(least.Round(time.Second)))
	}
	for rung, n := range r.Budgets {
		if least := r.waits(n); least >= r.Window {
			d.problemAt(path+".budgets."+string(rung), "lower it, or backoff.max",
				"within %s there cannot be %d failures, because backoff alone puts %s between the first and the last", rules.Short(r.Window), n, rules.Short(least.Round(time.Second)))
		}
	}
}

// shortestCrashLoop is the time from the first to the last of MaxFailures
// repairs that fail at once: the waits between them.
func (r Recovery) shortestCrashLoop() time.Duration { return r.waits(r.MaxFailures) }

// waits is the time that backoff puts between the first and the last of n tries.
func (r Recovery) waits(n int) time.Duration {
	total, wait := time.Duration(0), float64(r.Backoff.Initial)
	for range n - 1 {
		wait = min(wait, float64(r.Backoff.Max))
		total += time.Duration(wait)
		wait *= r.Backoff.Factor
	}
	return total
}

// PolicyFor is the ladder's policy for a fault, with the mode of [Site.ModeFor].
func (s *Site) PolicyFor(kind fault.Kind, labels map[string]string, annotated string) ladder.Policy {
	recovery := s.Recovery
	if c := s.classOf(labels); c != nil && c.Recovery != nil {
		recovery = *c.Recovery
	}
	p := recovery.Policy()
	p.Ladder = s.Kinds[kind].Ladder
	p.Dump = s.Evidence.Dump.policy()
	if mode, why := s.ModeFor(kind, labels, annotated); mode != ModeRepair {
		p.Observe, p.ObserveWhy = true, why
	}
	return p
}
