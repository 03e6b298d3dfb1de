package out

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"holdfast/internal/fault"
)

// reporter is what the monitor wants of both.
type reporter interface {
	ReportFault(ctx context.Context, f fault.Fault) error
	ReportCleared(ctx context.Context, f fault.Fault, seen fault.Sighting) error
}

var _, _ reporter = (*Alertmanager)(nil), (*Webhook)(nil)

func startTLS(t *testing.T, s *httptest.Server, cert, key string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	t.Cleanup(s.Close)
}

func sent(t *testing.T, to *other) postable {
	t.Helper()
	_, body := to.last(t)
	var list []postable
	require.NoError(t, json.Unmarshal([]byte(body), &list))
	require.Len(t, list, 1)
	return list[0]
}

func TestAlertmanager(t *testing.T) {
	to := newOther(t, nil)
	a := newAlertmanager(t, to.URL+"/prefix/", AlertmanagerOptions{
		Repeat: 5 * time.Minute, Runbooks: "https://example.net/faults/", Incident: func(f fault.Fault) string { return "incident/" + f.VM.Name },
	})
	require.NoError(t, a.ReportFault(t.Context(), sample()))
	r, _ := to.last(t)
	require.Equal(t, "/prefix/api/v2/alerts", r.URL.Path)
	got := sent(t, to)
	require.Equal(t, postable{
		Labels: map[string]string{
			"alertname": "HoldfastDiskFull", "kind": "disk-full", "severity": "major", "site": "lab", "vm": "web1",
			"vm_uuid": "6c1f2b0e-0000-4000-8000-000000000001", "host": "kvm1", "device": "vda", "source": "holdfast",
		},
		Annotations: map[string]string{
			"summary": "disk-full: VM web1, vda, on kvm1",
			"description": "vda of web1 is nearly full\n" +
				"Seen kvm1: running (booted), at 2026-11-22T13:00:00Z\n" +
				"vm.disk.full: 93.0 % (limit 90 %), since 2026-11-22T12:59:00Z, at 2026-11-22T13:00:00Z\n" +
				"growth: 1 GiB/min, by mon2",
			"runbook":  "https://example.net/faults/disk-full.md",
			"incident": "incident/web1",
		},
		StartsAt: now.Add(-time.Minute), EndsAt: now.Add(7*time.Minute + 30*time.Second),
	}, got)

	seen := fault.Sighting{Host: "kvm1", State: "shut off", Reason: "destroyed", At: now}
	require.NoError(t, a.ReportCleared(t.Context(), sample(), seen))
	over := sent(t, to)
	require.Equal(t, got.Labels, over.Labels, "it is the same alert")
	require.Equal(t, got.StartsAt, over.StartsAt)
	require.Equal(t, now, over.EndsAt)
	require.Contains(t, over.Annotations["description"], "Seen kvm1: shut off (destroyed)")
	require.NotContains(t, a.String(), "prefix")
}

// The alert outlives what passes until it is said again.
func TestAlertEndsLater(t *testing.T) {
	for repeat, stands := range map[time.Duration]time.Duration{
		10 * time.Second: 70 * time.Second, 2 * time.Minute: 3 * time.Minute, time.Hour: 90 * time.Minute,
	} {
		to := newOther(t, nil)
		require.NoError(t, newAlertmanager(t, to.URL, AlertmanagerOptions{Repeat: repeat}).ReportFault(t.Context(), sample()))
		require.Equal(t, now.Add(stands), sent(t, to).EndsAt)
	}
}

// Another monitor's clock may be ahead of ours: an alert that ended before it
// started would be refused.
func TestAlertNeverEndsBeforeItStarts(t *testing.T) {
	to := newOther(t, nil)
	f := sample()
	f.First = now.Add(time.Minute)
	require.NoError(t, newAlertmanager(t, to.URL, AlertmanagerOptions{}).ReportCleared(t.Context(), f, fault.Sighting{}))
	require.Equal(t, f.First, sent(t, to).EndsAt)
	f.First = time.Time{}
	require.NoError(t, newAlertmanager(t, to.URL, AlertmanagerOptions{}).ReportFault(t.Context(), f))
	_, body := to.last(t)
	require.NotContains(t, body, "startsAt", "Alertmanager takes its own time")
}

// What changes while a fault stands is in no label.
func TestLabelsStayTheSame(t *testing.T) {
	f, later := sample(), sample()
	later.Last, later.Why, later.Evidence, later.Reporter = now.Add(time.Hour), "fuller still", nil, "monitor@mon2"
	later.Seen.At, later.Flapping, later.Inhibits, later.Labels = now.Add(time.Hour), true, 3, nil
	later.ID = "of another monitor"
	require.Equal(t, labels(f), labels(later))
}

func TestLabelsOfEverySubject(t *testing.T) {
	for _, info := range fault.Catalogue() {
		f := fault.Fault{ID: "x", Kind: info.Kind, Site: "lab"}
		switch info.Subject {
		case fault.SubjectVM:
			f.VM, f.Host = fault.VM{UUID: "u", Name: "web1"}, "kvm1"
		case fault.SubjectHost:
			f.Host = "kvm1"
		case fault.SubjectPool:
			f.Pool, f.Host = "images", "kvm1"
		}
		l := labels(f)
		require.Regexp(t, `^Holdfast([A-Z][a-z]*)+$`, l["alertname"])
		require.Equal(t, string(info.Level), l["severity"])
		require.NotContains(t, l, "device")
		require.Equal(t, info.Subject == fault.SubjectVM, l["vm_uuid"] != "")
		require.Equal(t, info.Subject == fault.SubjectPool, l["pool"] != "")
		require.Contains(t, annotations(f, f.Seen, "docs/faults", ""), "runbook")
	}
	f := sample()
	f.Level = fault.Critical
	require.Equal(t, "critical", labels(f)["severity"], "the site's rule decides")
}

func TestSummary(t *testing.T) {
	for want, f := range map[string]fault.Fault{
		"hung: VM web1, on kvm1":       {Kind: fault.KindHung, VM: fault.VM{Name: "web1", UUID: "u"}, Host: "kvm1"},
		"lost: VM u":                   {Kind: fault.KindLost, VM: fault.VM{UUID: "u"}},
		"host-off: host kvm1":          {Kind: fault.KindHostOff, Host: "kvm1"},
		"pool-full: pool a, on kvm1":   {Kind: fault.KindPoolFull, Pool: "a", Host: "kvm1"},
		"storm: site lab":              {Kind: fault.KindStorm, Site: "lab"},
		"temporal-unreachable: site b": {Kind: fault.KindTemporalAway, Site: "b"},
	} {
		require.Equal(t, want, summary(f))
	}
}

func TestDescription(t *testing.T) {
	f := fault.Fault{
		Kind: fault.KindHostUnreachable, Host: "kvm1", Why: "kvm1 is silent", Flapping: true, Frozen: "a storm",
		Votes: []fault.Vote{{From: "tcp", Says: fault.HostSilent, Why: "timed out", At: now}, {From: "power", Says: fault.NoVerdict}},
	}
	require.Equal(t, "kvm1 is silent\nIt came and went so often that it stands until it is quiet.\nNothing is done: a storm\n"+
		"tcp says silent: timed out, at 2026-11-22T13:00:00Z\npower says unknown", description(f, fault.Sighting{}))
	f.Why = strings.Repeat("ä", 5000)
	long := description(f, fault.Sighting{})
	require.LessOrEqual(t, len(long), maxDescription)
	require.True(t, utf8.ValidString(long))
}

func TestWebhook(t *testing.T) {
	to := newOther(t, nil)
	w := newWebhook(t, Target{URL: to.URL + "/hook?key=1"})
	require.NoError(t, w.ReportFault(t.Context(), sample()))
	r, body := to.last(t)
	require.Equal(t, "/hook?key=1", r.URL.String())
	fields := map[string]any{}
	require.NoError(t, json.Unmarshal([]byte(body), &fields))
	require.NotContains(t, fields, "seen")
	require.Equal(t, "1", fields["version"])
	require.Equal(t, "firing", fields["status"])
	require.Equal(t, "disk-full", fields["fault"].(map[string]any)["kind"])

	seen := fault.Sighting{Host: "kvm1", State: "running", At: now}
	require.NoError(t, w.ReportCleared(t.Context(), sample(), seen))
	_, body = to.last(t)
	var m Message
	require.NoError(t, json.Unmarshal([]byte(body), &m))
	require.Equal(t, Message{Version: "1", Status: Resolved, Fault: sample(), Seen: seen}, m)
	require.NotContains(t, w.String(), "key")
}
