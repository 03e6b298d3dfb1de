package in

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/fault"
)

// recorded reads what a real program has sent.
func recorded(t testing.TB, name string) string {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return string(body)
}

// What real senders post becomes the right alerts. The clock is that of the
// moment of the first alert.
func TestRecorded(t *testing.T) {
	type want struct {
		kind     fault.Kind
		vm, host string
		resolved bool
		stands   time.Duration // from when it was received
	}
	hung := func(resolved bool, stands time.Duration) []want {
		return []want{{kind: fault.KindHung, vm: "web1", resolved: resolved, stands: stands}}
	}
	for name, c := range map[string]struct {
		at      time.Duration // after the alert's start
		taken   []want
		ignored []string
		why     string
	}{
		"prometheus-firing.json":   {taken: hung(false, 4*time.Second), why: "web1 does not answer"},
		"prometheus-resolved.json": {at: 4 * time.Second, taken: hung(true, -time.Second), why: "web1 does not answer"},
		"amtool-firing.json":       {taken: hung(false, 5*time.Minute), why: "hangs"},
		"amtool-resolved.json":     {at: time.Second, taken: hung(true, -time.Second), why: "GuestDown"},
		"webhook-firing.json": {why: "web1 does not answer", taken: []want{
			{kind: fault.KindHung, vm: "web1", host: "kvm2", stands: 25 * time.Hour},
		}},
		"webhook-resolved.json": {at: 5 * time.Second, why: "GuestDown", taken: []want{
			{kind: fault.KindHung, vm: "web1", host: "kvm2", resolved: true, stands: -3 * time.Second},
		}},
		"webhook-group.json": {why: "NodeDown", taken: []want{
			{kind: fault.KindHostUnreachable, host: "kvm1", stands: 25 * time.Hour},
		}, ignored: []string{
			"this site has no such host",
			`kind "host-unreachable" is about a host, and the alert has none of the labels host, node, instance`,
		}},
		"webhook-own.json": {ignored: []string{"it is Holdfast's own, sent back"}},
	} {
		t.Run(name, func(t *testing.T) {
			body, s := recorded(t, name), someSite()
			received := startOf(t, body).Add(c.at)
			o := options(s)
			o.Now = func() time.Time { return received }
			w := post(newHandler(t, o), request(body))
			require.Equal(t, http.StatusOK, w.Code, w.Body)

			var answer Answer
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
			require.Equal(t, len(c.taken), answer.Taken)
			var reasons []string
			for _, i := range answer.Ignored {
				reasons = append(reasons, i.Reason)
			}
			require.Equal(t, c.ignored, reasons)
			var got []want
			for _, a := range s.taken() {
				got = append(got, want{kind: a.Kind, vm: a.VM, host: a.Host, resolved: a.Resolved, stands: a.EndsAt.Sub(received)})
				require.Equal(t, c.why, a.Why())
				require.Equal(t, !a.Resolved, a.StandsAt(received))
				require.False(t, a.StartsAt.After(a.EndsAt))
			}
			require.Equal(t, c.taken, got)
		})
	}
}

// startOf is when the first alert of a payload started, or a fixed time.
func startOf(t *testing.T, body string) time.Time {
	t.Helper()
	list, err := parse([]byte(body))
	require.NoError(t, err)
	if at := list[0].startsAt; !at.IsZero() {
		return at
	}
	return now
}

// Alertmanager tells its own fingerprints: ours are the same.
func TestFingerprintIsAlertmanagers(t *testing.T) {
	compared := 0
	for _, name := range []string{"webhook-firing.json", "webhook-resolved.json", "webhook-group.json", "webhook-own.json"} {
		var payload struct {
			Alerts []struct {
				Fingerprint string
				Labels      map[string]string
			}
		}
		require.NoError(t, json.Unmarshal([]byte(recorded(t, name)), &payload))
		for _, a := range payload.Alerts {
			require.Equal(t, a.Fingerprint, fingerprint(a.Labels))
			compared++
		}
	}
	require.Equal(t, 6, compared)
}

// An alert has one fingerprint whichever way it comes, said or resolved.
func TestOneAlertByBothWays(t *testing.T) {
	s := someSite()
	h := newHandler(t, options(s))
	post(h, request(`[{"labels":{"alertname":"A","vm":"web1","empty":""}}]`))
	post(h, request(`{"version":"4","alerts":[{"status":"firing","labels":{"vm":"web1","alertname":"A"},"fingerprint":"0"}]}`))
	post(h, request(`{"version":"4","alerts":[{"status":"resolved","labels":{"vm":"web1","alertname":"A"}}]}`))
	all := s.taken()
	require.Len(t, all, 3)
	require.Equal(t, all[0].Fingerprint, all[1].Fingerprint)
	require.Equal(t, all[0].Fingerprint, all[2].Fingerprint)
	require.Equal(t, []bool{false, false, true}, []bool{all[0].Resolved, all[1].Resolved, all[2].Resolved})
}
