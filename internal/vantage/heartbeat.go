package vantage

import (
	"context"
	"fmt"
	"sync"
	"time"

	"holdfast/internal/agent"
	"holdfast/internal/fault"
)

const (
	// silentBeats is how many intervals a heartbeat must stand still.
	silentBeats = 3
	// aliveBeats is for how many intervals a beat is a sign of life.
	aliveBeats = 2
)

// Heartbeat is the point "heartbeat": it reads the file that the host's agent
// renews on shared storage, and judges by whether it changes between looks. The
// clocks of the two play no part.
//
// The host lives if the file has changed since a look of late, and is silent if it
// has stood still for more than three of the intervals that the file names. The
// first look is no verdict, nor is one after a long time; nor is a file that
// cannot be read, which may be this machine's own trouble.
//
// The read may hang with the storage: a [Panel] does not wait for it.
func Heartbeat(file string) Point { return &heartbeat{file: file, now: time.Now} }

type heartbeat struct {
	file string
	now  func() time.Time

	mu    sync.Mutex
	last  agent.Beat
	first time.Time // when last was first seen; zero: nothing was seen yet
	until time.Time // when another beat than last was last seen; zero: never
	look  time.Time // of the newest look
}

func (p *heartbeat) Name() string { return "heartbeat" }

func (p *heartbeat) Look(context.Context) fault.Vote {
	beat, err := agent.ReadBeat(p.file)
	if err != nil {
		return vote(p.Name(), fault.NoVerdict, "cannot be read: "+oneLine(err.Error()))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if beat != p.last {
		p.last, p.first, p.until = beat, now, p.look
	}
	p.look = now
	says, why := p.judge(now, beat.Interval())
	return fault.Vote{From: p.Name(), Says: says, Why: why, At: now}
}

// judge knows that the newest beat is younger than until, and that there was none
// since first.
func (p *heartbeat) judge(now time.Time, every time.Duration) (fault.Verdict, string) {
	still, youngest := now.Sub(p.first), now.Sub(p.until)
	limit := time.Duration(aliveBeats) * every
	if still == 0 { // looks may be as far apart as that
		limit = silentBeats * every
	}
	switch {
	case still > silentBeats*every:
		return fault.HostSilent, fmt.Sprintf("its heartbeat has stood still for %s, and is due every %s", still.Round(time.Second), every)
	case p.until.IsZero():
		return fault.NoVerdict, "its heartbeat was seen for the first time: it takes two looks"
	case youngest <= limit:
		return fault.HostAlive, fmt.Sprintf("renewed its heartbeat within the last %s", youngest.Round(time.Second))
	case still == 0:
		return fault.NoVerdict, fmt.Sprintf("renewed its heartbeat some time within the last %s: look again", youngest.Round(time.Second))
	}
	return fault.NoVerdict, fmt.Sprintf("its heartbeat is late, %s at least: too early to tell", still.Round(time.Second))
}
