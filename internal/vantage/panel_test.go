package vantage

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"holdfast/internal/fault"
)

// fake is a point that does what the test wants.
type fake struct {
	name string
	look func(context.Context) fault.Vote
}

func (f fake) Name() string                        { return f.name }
func (f fake) Look(ctx context.Context) fault.Vote { return f.look(ctx) }
func says(name string, v fault.Verdict) fake {
	return fake{name, func(context.Context) fault.Vote { return vote(name, v, "") }}
}
func panel(t *testing.T, points ...Point) *Panel {
	t.Helper()
	p, err := NewPanel("kvm1", points...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close(within(t, patience))) })
	return p
}

// patient is a fake that takes its own time.
type patient struct{ fake }

func (patient) Patience() time.Duration { return patience }

func verdicts(votes []fault.Vote) (out []fault.Verdict) {
	for _, v := range votes {
		out = append(out, v.Says)
	}
	return out
}

func TestPanelVotesInOrder(t *testing.T) {
	p := panel(t, says("power", fault.HostOff), says("agent", fault.HostSilent), says("tcp", fault.HostAccepts),
		fake{"bare", func(context.Context) fault.Vote { return fault.Vote{Says: fault.NoVerdict} }})
	assert.Equal(t, "kvm1", p.Host())
	assert.Equal(t, []string{"power", "agent", "tcp", "bare"}, p.Names())
	for range 3 {
		votes := p.Look(within(t, patience))
		assert.Equal(t, []fault.Verdict{fault.HostOff, fault.HostSilent, fault.HostAccepts, fault.NoVerdict}, verdicts(votes))
		for i, v := range votes {
			assert.Equal(t, p.Names()[i], v.From)
			assert.False(t, v.At.IsZero())
		}
	}
	assert.Empty(t, panel(t).Look(within(t, patience)))
}

func TestPanelWantsNamesThatDiffer(t *testing.T) {
	_, err := NewPanel("kvm1", says("tcp", fault.HostAlive), says("tcp", fault.HostAlive))
	require.ErrorContains(t, err, `host kvm1 has two vantage points "tcp"`)
}

// All points look at once: each waits here for the others.
func TestPanelLooksFromAllAtOnce(t *testing.T) {
	var arrived atomic.Int32
	all := make(chan struct{})
	meet := func(name string) Point {
		return fake{name, func(ctx context.Context) fault.Vote {
			if arrived.Add(1) == 3 {
				close(all)
			}
			select {
			case <-all:
				return vote(name, fault.HostAlive, "")
			case <-ctx.Done():
				return vote(name, fault.HostSilent, "")
			}
		}}
	}
	votes := panel(t, meet("a"), meet("b"), meet("c")).Look(within(t, patience))
	assert.Equal(t, []fault.Verdict{fault.HostAlive, fault.HostAlive, fault.HostAlive}, verdicts(votes))
}

// Silence takes all the time that there is, and must be heard.
func TestPanelHearsSilence(t *testing.T) {
	for _, d := range []time.Duration{50 * time.Millisecond, 500 * time.Millisecond} {
		p := panel(t, quick(blackhole(t), true), fake{"waits", func(ctx context.Context) fault.Vote {
			<-ctx.Done()
			return vote("waits", fault.HostSilent, "")
		}})
		votes := p.Look(within(t, d))
		assert.NotEmpty(t, votes[0].Why)
		if d > 100*time.Millisecond { // what quick takes for silence, and time to spare
			assert.Equal(t, []fault.Verdict{fault.HostSilent, fault.HostSilent}, verdicts(votes), votes[0].Why)
		}
	}
}

func TestPanelDoesNotWaitForALatePointAndHearsItLater(t *testing.T) {
	answer, looks := make(chan struct{}), atomic.Int32{}
	slow := patient{fake{"power", func(context.Context) fault.Vote {
		looks.Add(1)
		<-answer
		return vote("power", fault.HostOff, "has no power")
	}}}
	p := panel(t, slow, says("tcp", fault.HostSilent))
	for range 3 {
		votes := p.Look(within(t, 50*time.Millisecond))
		assert.Equal(t, []fault.Verdict{fault.NoVerdict, fault.HostSilent}, verdicts(votes))
		assert.Contains(t, votes[0].Why, "has not answered since")
	}
	assert.EqualValues(t, 1, looks.Load(), "it looks once at a time")
	close(answer)
	votes := p.Look(within(t, patience))
	assert.Equal(t, []fault.Verdict{fault.HostOff, fault.HostSilent}, verdicts(votes))
	assert.EqualValues(t, 1, looks.Load())
	p.Look(within(t, patience))
	assert.EqualValues(t, 2, looks.Load(), "a look counts once")
}

// What a point saw long ago is not what it sees.
func TestPanelForgetsWhatCameMuchTooLate(t *testing.T) {
	answer, looks := make(chan struct{}), atomic.Int32{}
	p := panel(t, fake{"heartbeat", func(context.Context) fault.Vote {
		if looks.Add(1) > 1 {
			return vote("heartbeat", fault.HostAlive, "")
		}
		<-answer
		return fault.Vote{Says: fault.HostSilent, At: time.Now().Add(-2 * keepLate)}
	}})
	p.Look(within(t, 20*time.Millisecond))
	first := p.seats[0].now
	close(answer)
	<-first.done
	assert.Equal(t, []fault.Verdict{fault.HostAlive}, verdicts(p.Look(within(t, patience))))
}

func TestPanelOfSeveralWhoLookAtOnce(t *testing.T) {
	var looking atomic.Int32
	p := panel(t, fake{"tcp", func(context.Context) fault.Vote {
		assert.EqualValues(t, 1, looking.Add(1), "a point looks once at a time")
		defer looking.Add(-1)
		return vote("tcp", fault.HostAlive, "")
	}})
	done := make(chan []fault.Vote)
	for range 8 {
		go func() { done <- p.Look(within(t, patience)) }()
	}
	for range 8 {
		assert.Equal(t, []fault.Verdict{fault.HostAlive}, verdicts(<-done))
	}
}

func TestCloseEndsLooks(t *testing.T) {
	p := panel(t, patient{fake{"power", func(ctx context.Context) fault.Vote {
		<-ctx.Done()
		return vote("power", fault.NoVerdict, "interrupted")
	}}})
	p.Look(within(t, 20*time.Millisecond))
	require.NoError(t, p.Close(within(t, patience)))
	votes := p.Look(within(t, patience))
	votes = append(votes, p.Look(within(t, patience))...)
	assert.Equal(t, []fault.Verdict{fault.NoVerdict, fault.NoVerdict}, verdicts(votes))
	assert.Contains(t, votes[1].Why, "nobody looks any more")
}

func TestCloseSaysWhatDoesNotEnd(t *testing.T) {
	hang := make(chan struct{})
	p := panel(t, fake{"heartbeat", func(context.Context) fault.Vote { <-hang; return fault.Vote{} }})
	p.Look(within(t, 20*time.Millisecond))
	err := p.Close(within(t, 20*time.Millisecond))
	require.ErrorContains(t, err, "heartbeat")
	require.True(t, errors.Is(err, context.DeadlineExceeded))
	close(hang) // then it does
}

// The whole of it, against what can be had on one machine.
func TestPanelOfRealPoints(t *testing.T) {
	p := panel(t,
		quick(blackhole(t), true),
		Power(script("off.sh"), patience),
		Peer(monitor(t, map[string]fault.Verdict{"kvm1": fault.HostSilent}, 0), "kvm1", patience),
		Heartbeat(t.TempDir()+"/missing"),
	)
	votes := p.Look(within(t, 2*time.Second))
	assert.Equal(t, []fault.Verdict{fault.HostSilent, fault.HostOff, fault.HostSilent, fault.NoVerdict}, verdicts(votes))
}
