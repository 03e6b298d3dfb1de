package vantage

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"holdfast/internal/fault"
	"holdfast/internal/vantage/fetch"
)

// PeerPath is where a monitor answers about a host, whose name comes after it.
const PeerPath = "/v1/hosts/"

// view is what one monitor tells another. Their clocks may differ: it says how
// long ago, not when.
type view struct {
	Says fault.Verdict `json:"says"`
	Why  string        `json:"why,omitempty"`
	// Age in seconds.
	Age float64 `json:"ageSeconds"`
}

// Peer asks another monitor of the site, at the base URL of what it listens on,
// what it sees of the host by libvirt. What is older than within is no verdict.
// The point is called "peer" and the other's address.
//
// That the other monitor cannot be asked says nothing about the host.
func Peer(base, host string, within time.Duration) Point {
	return &peer{base: base, host: host, within: within}
}

type peer struct {
	base, host string
	within     time.Duration
}

func (p *peer) Name() string { return "peer " + fetch.Host(p.base) }

func (p *peer) Look(ctx context.Context) fault.Vote {
	if err := fetch.Check(p.base); err != nil {
		return vote(p.Name(), fault.NoVerdict, "cannot be asked: "+err.Error())
	}
	began := time.Now()
	var v view
	t, err := fetch.JSON(ctx, fetch.Join(p.base, PeerPath+url.PathEscape(p.host)), "", &v)
	age := time.Duration(v.Age * float64(time.Second))
	switch {
	case t.Status == http.StatusNotFound:
		return vote(p.Name(), fault.NoVerdict, "does not watch this host, or has not looked yet")
	case err != nil:
		return vote(p.Name(), fault.NoVerdict, "cannot be asked: "+reason(err))
	case !seen[v.Says] || v.Age < 0 || v.Age > mostAge:
		return vote(p.Name(), fault.NoVerdict, "says nothing about this host")
	case age > p.within:
		return vote(p.Name(), fault.NoVerdict, fmt.Sprintf("last looked %s ago, which is too long", age.Round(time.Second)))
	}
	return fault.Vote{From: p.Name(), Says: v.Says, Why: oneLine(v.Why), At: began.Add(-age)}
}

// seen are the verdicts that a monitor can have from libvirt. That a host has no
// power is not among them: it is not believed on hearsay.
var seen = map[fault.Verdict]bool{
	fault.HostAnswers: true, fault.HostAccepts: true, fault.HostRefuses: true, fault.HostAlive: true, fault.HostSilent: true,
}

// mostAge bounds an age in seconds, far beyond any use.
const mostAge = 1e6

// PeerHandler answers other monitors. own returns the vote of this monitor's own
// libvirt connection, with At the time of the newest look (not of when it began
// to be so); false where it does not watch such a host or has not looked yet. It
// must not return what other points say, or monitors would confirm each other's
// hearsay. It is called concurrently, and must answer from what is known.
func PeerHandler(own func(host string) (fault.Vote, bool)) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PeerPath+"{host}", func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		v, ok := own(r.PathValue("host"))
		if !ok {
			http.Error(w, "this monitor does not watch that host, or has not looked yet", http.StatusNotFound)
			return
		}
		h.Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(view{ // whoever asked may have gone
			Says: v.Says, Why: v.Why, Age: max(0, time.Since(v.At)).Seconds(),
		})
	})
	return mux
}
