//go:build lab

package alertmanager

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/alert/in"
	"holdfast/internal/alert/out"
	"holdfast/internal/fault"
	"holdfast/test/rig"
)

// webhook is what the tests look at in Alertmanager's payload.
type webhook struct {
	Status string
	Alerts []struct {
		Status, Fingerprint string
		Labels, Annotations map[string]string
	}
}

func lastHolds(b *inbox, alerts int) error {
	all := b.received()
	if len(all) == 0 {
		return fmt.Errorf("nothing was received")
	}
	var w webhook
	if err := json.Unmarshal(all[len(all)-1], &w); err != nil {
		return err
	}
	if len(w.Alerts) != alerts {
		return fmt.Errorf("the last of %d payloads has %d alerts, not %d", len(all), len(w.Alerts), alerts)
	}
	return nil
}

func full(now time.Time) fault.Fault {
	return fault.Fault{
		ID: "f1", Kind: fault.KindDiskFull, Site: "lab", VM: fault.VM{UUID: "6c1f2b0e-0000-4000-8000-000000000001", Name: "web1"},
		Host: "kvm1", Device: "vda", First: now.Add(-time.Minute), Last: now, Reporter: "monitor@mon1", Why: "vda of web1 is nearly full",
		Seen:     fault.Sighting{Host: "kvm1", State: "running", Reason: "booted", At: now},
		Evidence: []fault.Evidence{{What: "vm.disk.full", Value: "93.0 % (limit 90 %)", Since: now.Add(-time.Minute), At: now}},
	}
}

// A fault is one alert however often it is said, and is over when it is said to be.
func TestFaultFiresAndResolves(t *testing.T) {
	told := newInbox(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	am := start(t, `{url: "`+told.URL+`", send_resolved: true}`)
	to, err := out.NewAlertmanager(out.Target{URL: am.url}, out.AlertmanagerOptions{Repeat: 5 * time.Minute})
	require.NoError(t, err)
	defer to.Close()

	now := time.Now()
	f := full(now)
	for i := range 4 { // growing evidence does not make it another alert
		f.Last = now.Add(time.Duration(i) * time.Millisecond)
		f.Evidence[0].Value = fmt.Sprintf("%d.0 %% (limit 90 %%)", 93+i)
		require.NoError(t, to.ReportFault(t.Context(), f))
	}
	other := full(now)
	other.ID, other.Device = "f2", "vdb"
	require.NoError(t, to.ReportFault(t.Context(), other))

	standing := am.alerts(t)
	require.Len(t, standing, 2, "one a disk")
	a := standing[0]
	if a.Labels["device"] != "vda" {
		a = standing[1]
	}
	require.Equal(t, map[string]string{
		"alertname": "HoldfastDiskFull", "kind": "disk-full", "severity": "major", "site": "lab", "vm": "web1",
		"vm_uuid": f.VM.UUID, "host": "kvm1", "device": "vda", "source": "holdfast",
	}, a.Labels)
	require.Equal(t, "disk-full: VM web1, vda, on kvm1", a.Annotations["summary"])
	require.Contains(t, a.Annotations["description"], "vda of web1 is nearly full")
	require.Contains(t, a.Annotations["description"], "96.0 % (limit 90 %)")
	require.Equal(t, "docs/faults/disk-full.md", a.Annotations["runbook"])
	require.WithinDuration(t, f.First, a.StartsAt, time.Second)
	require.Equal(t, "active", a.Status.State)
	require.Contains(t, am.amtool(t, "alert", "query", "vm=web1", "device=vda"), "HoldfastDiskFull")
	rig.Eventually(t, "people are told of both", func() error { return lastHolds(told, 2) })

	require.NoError(t, to.ReportCleared(t.Context(), f, fault.Sighting{Host: "kvm1", State: "running", At: time.Now()}))
	rig.Eventually(t, "it is over", func() error {
		if left := am.alerts(t); len(left) != 1 || left[0].Labels["device"] != "vdb" {
			return fmt.Errorf("%d alerts stand: %+v", len(left), left)
		}
		return nil
	})
	rig.Eventually(t, "people are told that it is over", func() error {
		for _, body := range told.received() {
			var w webhook
			require.NoError(t, json.Unmarshal(body, &w))
			for _, a := range w.Alerts {
				if a.Status == "resolved" && a.Labels["device"] == "vda" {
					return nil
				}
			}
		}
		return fmt.Errorf("not in %d payloads", len(told.received()))
	})
	// To clear what was never said does no harm, nor does doing it twice.
	require.NoError(t, to.ReportCleared(t.Context(), f, fault.Sighting{}))
	never := full(now)
	never.ID, never.Device = "f3", "vdc"
	require.NoError(t, to.ReportCleared(t.Context(), never, fault.Sighting{}))
	require.Len(t, am.alerts(t), 1)
}

// An alarm that an Alertmanager routes back to Holdfast opens nothing.
func TestOwnAlarmsComeBackToNothing(t *testing.T) {
	site, file := &sink{}, tokenFile(t)
	box := newInbox(t, newHandler(t, site, file))
	am := start(t, `{url: "`+box.URL+in.Path+`", http_config: {authorization: {credentials_file: "`+file+`"}}}`)
	to, err := out.NewAlertmanager(out.Target{URL: am.url}, out.AlertmanagerOptions{Repeat: time.Minute})
	require.NoError(t, err)
	defer to.Close()
	require.NoError(t, to.ReportFault(t.Context(), full(time.Now())))
	rig.Eventually(t, "the alarm comes back", func() error { return lastHolds(box, 1) })
	box.keep(t, "webhook-own.json")
	am.amtool(t, "alert", "add", "GuestDown", "vm=web1")
	site.await(t, "a foreign alert arrives", func(a in.Alert) bool { return a.Kind == fault.KindHung })
	for _, a := range site.all() {
		require.Equal(t, "GuestDown", a.Labels["alertname"])
	}
}

// What the Alertmanager itself refuses is told as such.
func TestAlertmanagerRefuses(t *testing.T) {
	am := start(t, `{url: "http://127.0.0.1:9/"}`)
	to, err := out.NewAlertmanager(out.Target{URL: am.url + "/elsewhere"}, out.AlertmanagerOptions{Repeat: time.Minute})
	require.NoError(t, err)
	defer to.Close()
	var refused *out.Refused
	require.ErrorAs(t, to.ReportFault(t.Context(), full(time.Now())), &refused)
	require.Equal(t, http.StatusNotFound, refused.Status)
}
