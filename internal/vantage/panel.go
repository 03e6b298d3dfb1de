package vantage

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"holdfast/internal/fault"
)

const (
	// longestLook bounds a look that is given no end.
	longestLook = 10 * time.Second
	// margin is how much earlier than the panel a point must be done, so that
	// silence is found before the panel gives up on it.
	margin = 250 * time.Millisecond
	// keepLate is how long what a late point saw is good for the next look.
	keepLate = 20 * time.Second
)

// Panel is all points that look at one host. It is safe for use from several
// goroutines at once.
type Panel struct {
	host  string
	seats []*seat

	life   context.Context // of the looks
	end    context.CancelFunc
	closed sync.Once
}

// seat is one point, which looks once at a time.
type seat struct {
	point Point

	mu  sync.Mutex
	now *glance // under way, or over and not yet told; nil: none
}

// glance is one look.
type glance struct {
	began time.Time
	done  chan struct{} // closed when vote is there
	vote  fault.Vote
}

// NewPanel makes a panel of points, in the order in which their votes are wanted.
// It fails if two have one name.
func NewPanel(host string, points ...Point) (*Panel, error) {
	p := &Panel{host: host}
	names := make(map[string]bool)
	for _, point := range points {
		if names[point.Name()] {
			return nil, fmt.Errorf("host %s has two vantage points %q: leave one out", host, point.Name())
		}
		names[point.Name()] = true
		p.seats = append(p.seats, &seat{point: point})
	}
	p.life, p.end = context.WithCancel(context.Background())
	return p, nil
}

// Host is whom the panel looks at.
func (p *Panel) Host() string { return p.host }

// Names of the points, in the order of their votes.
func (p *Panel) Names() []string {
	names := make([]string, len(p.seats))
	for i, s := range p.seats {
		names[i] = s.point.Name()
	}
	return names
}

// Look looks from all points at once and returns their votes, one a point, in
// their order, when all are there or ctx ends; without an end, after 10 s. A
// point that is late votes unknown. It goes on, and what it sees is its vote in
// the next look, if that is not long after: so a power supply that takes longer to
// answer than a look may take is heard, too.
func (p *Panel) Look(ctx context.Context) []fault.Vote {
	ctx, cancel := context.WithTimeout(ctx, longestLook)
	defer cancel()
	asked := make([]*glance, len(p.seats))
	for i, s := range p.seats {
		asked[i] = s.ask(p.life, ctx)
	}
	votes := make([]fault.Vote, len(p.seats))
	for i, s := range p.seats {
		votes[i] = s.await(ctx, asked[i])
	}
	return votes
}

// ask joins the look that is under way, takes one that came too late for whoever
// began it, or begins one. The look lives as long as the panel lets it, not as
// long as the call that began it.
func (s *seat) ask(life, call context.Context) *glance {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.now; g != nil && (!g.over() || time.Since(g.vote.At) <= keepLate) {
		return g
	}
	g := &glance{began: time.Now(), done: make(chan struct{})}
	if life.Err() != nil {
		g.vote = vote(s.point.Name(), fault.NoVerdict, "nobody looks any more")
		close(g.done)
		return g
	}
	s.now = g
	var ctx context.Context
	var cancel context.CancelFunc
	if patient, ok := s.point.(Patient); ok {
		ctx, cancel = context.WithTimeout(life, patient.Patience())
	} else {
		end, _ := call.Deadline() // Panel.Look has set one
		left := time.Until(end)
		ctx, cancel = context.WithDeadline(life, end.Add(-min(margin, left/10)))
	}
	go func() {
		defer cancel()
		defer close(g.done)
		g.vote = s.point.Look(ctx)
		g.vote.From = s.point.Name()
		if g.vote.At.IsZero() {
			g.vote.At = time.Now()
		}
	}()
	return g
}

func (g *glance) over() bool {
	select {
	case <-g.done:
		return true
	default:
		return false
	}
}

// await returns what the look saw, or that it is late.
func (s *seat) await(ctx context.Context, g *glance) fault.Vote {
	select {
	case <-g.done:
	case <-ctx.Done():
		if !g.over() { // both may be ready
			return vote(s.point.Name(), fault.NoVerdict,
				fmt.Sprintf("has not answered since %s", time.Since(g.began).Round(time.Millisecond)))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == g { // told
		s.now = nil
	}
	return g.vote
}

// Close ends every look, and waits for them until ctx ends. It returns an error
// that names the points that the kernel does not let go, such as a read from
// storage that hangs: they end with the kernel's answer. After it every vote is
// unknown.
func (p *Panel) Close(ctx context.Context) error {
	p.closed.Do(p.end)
	var stuck []string
	for _, s := range p.seats {
		s.mu.Lock()
		g := s.now
		s.mu.Unlock()
		if g == nil {
			continue
		}
		select {
		case <-g.done:
		case <-ctx.Done():
			if !g.over() {
				stuck = append(stuck, s.point.Name())
			}
		}
	}
	if len(stuck) > 0 {
		return fmt.Errorf("vantage points of %s that do not end: %s: %w", p.host, strings.Join(stuck, ", "), ctx.Err())
	}
	return nil
}
