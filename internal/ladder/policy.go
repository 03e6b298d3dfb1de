package ladder

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Policy is what a site wants done about the faults of a VM.
type Policy struct {
	// MaxFailures is how many failed repairs within Window make Holdfast stop and ask a person.
	MaxFailures int           `json:"maxFailures"`
	Window      time.Duration `json:"window"`
	// The wait before try n (counted from 0 failures) is 0 for the first, then
	// BackoffInitial * BackoffFactor^(n-1), at most BackoffMax.
	BackoffInitial time.Duration `json:"backoffInitial"`
	BackoffMax     time.Duration `json:"backoffMax"`
	BackoffFactor  float64       `json:"backoffFactor"`
	// StableFor is how long a started VM must stay running to count as repaired.
	StableFor time.Duration `json:"stableFor"`
	// Probes are what must answer besides.
	Probes Probes `json:"probes,omitzero"`
	// Ladder are the rungs for the fault, in the order in which they are climbed;
	// empty: those of its kind.
	Ladder []Rung `json:"ladder,omitempty"`
	// Budgets say how many failed tries of a rung within Window make it be passed
	// over. For those that are not in it: MaxFailures for a restart, and otherwise
	// what [DefaultBudget] says.
	Budgets map[Rung]int `json:"budgets,omitempty"`
	// Forbidden are rungs that are never climbed, Approval those that a person has to
	// approve each time.
	Forbidden []Rung `json:"forbidden,omitempty"`
	Approval  []Rung `json:"approval,omitempty"`
	// ApprovalTimeout is how long a person is waited for before ApprovalThen is done;
	// 0: for ever.
	ApprovalTimeout time.Duration `json:"approvalTimeout,omitempty"`
	ApprovalThen    Fallback      `json:"approvalThen,omitempty"`
	// Desired is the state that the VM is brought back to: DesiredRunning, or
	// DesiredAsFound, which leaves one that is down as it is; empty: running.
	Desired string `json:"desired,omitempty"`
	// Priority orders the repairs of a site that has more of them than its workers can
	// do at once: from 1, first, to 5; 0: 3.
	Priority int `json:"priority,omitempty"`
	// Dump is whether the guest's memory is evidence, too.
	Dump Dump `json:"dump,omitzero"`
	// Held says who wants hands off the VM, and why; empty: nobody.
	Held string `json:"held,omitempty"`
	// AgentExpected: a guest agent answers in this VM when it is well.
	AgentExpected bool `json:"agentExpected,omitempty"`
	// Observe: say what would be done, and do nothing unless a person asks for it.
	// ObserveWhy says who wants it so, such as "the site file's mode".
	Observe    bool   `json:"observe,omitempty"`
	ObserveWhy string `json:"observeWhy,omitempty"`
}

// Desired states.
const (
	DesiredRunning = "running"
	DesiredAsFound = "as-found"
)

// DefaultPriority is that of a policy that names none.
const DefaultPriority = 3

// Fallback is what becomes of a rung that nobody has approved or refused in time.
type Fallback string

// Fallbacks. Whatever it is, the incident says who did not answer, and when.
const (
	FallbackEscalate Fallback = "escalate" // say it again, louder, and go on waiting
	FallbackReject   Fallback = "reject"   // pass the rung over
	FallbackApprove  Fallback = "approve"  // climb it
)

// DefaultBudget is how often a rung may fail within the window before it is passed
// over, where the policy does not say. A reset that did not help does not help
// the second time; to resume does no harm and is tried for as long as storage
// usually takes to come back; to put a VM back twice gains nothing.
func DefaultBudget(r Rung) int {
	switch r {
	case RungResume:
		return 8
	case RungElsewhere:
		return 2
	}
	return 1
}

// DefaultApproval are the rungs that lose what the guest has written since, so
// that a person has to want them.
func DefaultApproval() []Rung { return []Rung{RungSnapshot, RungBackup} }

// budget is how often a rung may fail within the window.
func (p Policy) budget(r Rung) int {
	if n, ok := p.Budgets[r]; ok {
		return n
	}
	if r == RungRestart {
		return p.MaxFailures
	}
	return DefaultBudget(r)
}

// DefaultPolicy is used where the site file says nothing.
func DefaultPolicy() Policy {
	return Policy{
		MaxFailures: 5, Window: 10 * time.Minute, Desired: DesiredRunning, Priority: DefaultPriority,
		BackoffInitial: time.Second, BackoffMax: time.Minute, BackoffFactor: 2,
		StableFor: 5 * time.Second, Probes: Probes{Agent: AgentAuto, Within: 2 * time.Minute},
		Approval: DefaultApproval(), ApprovalThen: FallbackEscalate,
	}
}

// Validate names the first field that makes no sense.
func (p Policy) Validate() error {
	switch {
	case p.MaxFailures < 1:
		return fmt.Errorf("maxFailures must be at least 1, is %d", p.MaxFailures)
	case p.Window <= 0:
		return fmt.Errorf("window must be positive, is %s", p.Window)
	case p.BackoffInitial < 0 || p.BackoffMax < p.BackoffInitial:
		return fmt.Errorf("backoff must satisfy 0 <= initial <= max, is %s and %s", p.BackoffInitial, p.BackoffMax)
	case p.BackoffFactor < 1:
		return fmt.Errorf("backoff.factor must be at least 1, is %g", p.BackoffFactor)
	case p.StableFor < 0:
		return fmt.Errorf("verify.stableFor must not be negative, is %s", p.StableFor)
	}
	if err := p.checkRungs(); err != nil {
		return err
	}
	return p.Probes.Validate()
}

func (p Policy) checkRungs() error {
	seen := map[Rung]bool{}
	for _, r := range p.Ladder {
		if !slices.Contains(vmRungs, r) {
			return fmt.Errorf("ladder: %q is no rung of a VM: use %s", r, list(vmRungs))
		}
		if seen[r] {
			return fmt.Errorf("ladder: %s is in it twice", r)
		}
		seen[r] = true
	}
	for r, n := range p.Budgets {
		if n < 1 {
			return fmt.Errorf("budgets.%s must be at least 1, is %d: what is never to be done belongs in forbidden", r, n)
		}
	}
	switch p.ApprovalThen {
	case "", FallbackEscalate, FallbackReject, FallbackApprove:
		return nil
	}
	return fmt.Errorf("approval.then must be %s, %s or %s, is %q", FallbackEscalate, FallbackReject, FallbackApprove, p.ApprovalThen)
}

// backoff is the wait before the next try after so many failures in a row.
func (p Policy) backoff(failures int) time.Duration {
	if failures <= 0 {
		return 0
	}
	wait := float64(p.BackoffInitial) * math.Pow(p.BackoffFactor, float64(failures-1))
	return time.Duration(math.Min(wait, float64(p.BackoffMax)))
}

func (p Policy) observeWhy() string {
	if p.ObserveWhy == "" {
		return "the site wants nothing touched"
	}
	return p.ObserveWhy
}
