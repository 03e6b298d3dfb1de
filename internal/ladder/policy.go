package ladder

import (
	"fmt"
	"math"
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
	// Observe: say what would be done, and do nothing unless a person asks for it.
	// ObserveWhy says who wants it so, such as "the site file's mode".
	Observe    bool   `json:"observe,omitempty"`
	ObserveWhy string `json:"observeWhy,omitempty"`
}

// DefaultPolicy is used where the site file says nothing.
func DefaultPolicy() Policy {
	return Policy{
		MaxFailures: 5, Window: 10 * time.Minute,
		BackoffInitial: time.Second, BackoffMax: time.Minute, BackoffFactor: 2,
		StableFor: 5 * time.Second,
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
	return nil
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
