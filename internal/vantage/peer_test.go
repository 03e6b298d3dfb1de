package vantage

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"holdfast/internal/fault"
	"holdfast/internal/vantage/fetch"
)

// monitor is another one, which has looked that long ago.
func monitor(t *testing.T, votes map[string]fault.Verdict, age time.Duration) string {
	t.Helper()
	s := httptest.NewServer(PeerHandler(func(host string) (fault.Vote, bool) {
		says, ok := votes[host]
		return fault.Vote{From: "libvirt", Says: says, Why: "keepalive\nlost", At: time.Now().Add(-age)}, ok
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestPeerTellsWhatItSees(t *testing.T) {
	url := monitor(t, map[string]fault.Verdict{"kvm1": fault.HostSilent, "kvm 2/ü": fault.HostAnswers, "kvm3": fault.HostOff, "kvm4": "well"}, 3*time.Second)
	v := Peer(url+"/", "kvm1", patience).Look(within(t, patience))
	assert.Equal(t, fault.HostSilent, v.Says)
	assert.Equal(t, "peer "+fetch.Host(url), v.From)
	assert.Equal(t, "keepalive", v.Why)
	assert.WithinRange(t, v.At, time.Now().Add(-3*time.Second-patience), time.Now().Add(-3*time.Second), "not younger than it is")

	for host, want := range map[string]fault.Verdict{
		"kvm 2/ü": fault.HostAnswers,
		"kvm3":    fault.NoVerdict, // not from a connection of libvirt's
		"kvm4":    fault.NoVerdict,
		"kvm5":    fault.NoVerdict,
	} {
		v := Peer(url, host, patience).Look(within(t, patience))
		assert.Equal(t, want, v.Says, "%s: %s", host, v.Why)
	}
}

func TestPeerThatHasNotLookedOfLate(t *testing.T) {
	url := monitor(t, map[string]fault.Verdict{"kvm1": fault.HostSilent}, time.Minute)
	v := Peer(url, "kvm1", 30*time.Second).Look(within(t, patience))
	assert.Equal(t, fault.NoVerdict, v.Says)
	assert.Contains(t, v.Why, "last looked 1m0s ago")
	assert.WithinDuration(t, time.Now(), v.At, patience)
}

// That a monitor is away says nothing about any host.
func TestPeerThatIsAway(t *testing.T) {
	for _, url := range []string{
		"http://" + refuses(t), "http://" + blackhole(t), "http://" + listen(t), "nonsense",
		answering(t, http.StatusInternalServerError, ""), answering(t, http.StatusOK, "[]"), answering(t, http.StatusOK, `{}`),
		answering(t, http.StatusOK, `{"says":"silent","ageSeconds":-1}`), answering(t, http.StatusOK, `{"says":"silent","ageSeconds":1e30}`),
	} {
		v := Peer(url, "kvm1", patience).Look(within(t, 500*time.Millisecond))
		assert.Equal(t, fault.NoVerdict, v.Says, "%s: %s", url, v.Why)
		assert.NotEmpty(t, v.Why)
	}
}

func TestPeerHandlerTakesOnlyQuestions(t *testing.T) {
	url := monitor(t, map[string]fault.Verdict{"kvm1": fault.HostSilent}, 0)
	r, err := http.Post(url+"/v1/hosts/kvm1", "text/plain", nil)
	require.NoError(t, err)
	require.NoError(t, r.Body.Close())
	assert.Equal(t, http.StatusMethodNotAllowed, r.StatusCode)
}
