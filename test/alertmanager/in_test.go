//go:build lab

package alertmanager

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/alert"
	"holdfast/internal/alert/in"
	"holdfast/internal/fault"
	"holdfast/test/alertmanager/pki"
	"holdfast/test/rig"
)

const token = "a-token-of-the-test"

func tokenFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(name, []byte(token+"\n"), 0o600))
	return name
}

func newHandler(t *testing.T, s in.Sink, file string) *in.Handler {
	t.Helper()
	m := in.DefaultMapping()
	m.Kinds = []in.KindRule{
		{Match: map[string]string{"alertname": "GuestDown"}, Kind: fault.KindHung},
		{Match: map[string]string{"alertname": "NodeDown"}, Kind: fault.KindHostUnreachable},
	}
	h, err := in.NewHandler(in.Options{Mapping: m, Sink: s, TokenFile: alert.TokenFile(file)})
	require.NoError(t, err)
	return h
}

// What somebody adds with amtool arrives by Alertmanager's webhook, and so does
// that it is over.
func TestWebhook(t *testing.T) {
	site, file := &sink{}, tokenFile(t)
	box := newInbox(t, newHandler(t, site, file))
	am := start(t, `{url: "`+box.URL+in.Path+`", http_config: {authorization: {credentials_file: "`+file+`"}}}`)

	before := time.Now().Add(-time.Second)
	am.amtool(t, "alert", "add", "GuestDown", "vm=web1", "severity=page", "host=kvm2",
		"--annotation=summary=web1 does not answer", "--annotation=internal=for nobody",
		"--end="+time.Now().Add(time.Hour).Format(time.RFC3339))
	firing := site.await(t, "the alert arrives", func(a in.Alert) bool { return a.Kind == fault.KindHung })
	box.keep(t, "webhook-firing.json")
	require.Equal(t, "web1", firing.VM)
	require.Equal(t, "kvm2", firing.Host)
	require.Equal(t, "web1 does not answer", firing.Why())
	require.NotContains(t, firing.Annotations, "internal")
	require.False(t, firing.Resolved)
	require.True(t, firing.StandsAt(time.Now()))
	require.True(t, firing.StartsAt.After(before), "%s is not after %s", firing.StartsAt, before)
	require.Equal(t, am.alerts(t)[0].Fingerprint, firing.Fingerprint, "it is Alertmanager's own")

	am.amtool(t, "alert", "add", "GuestDown", "vm=web1", "severity=page", "host=kvm2",
		"--start="+before.Format(time.RFC3339), "--end="+time.Now().Format(time.RFC3339))
	over := site.await(t, "that it is over arrives", func(a in.Alert) bool { return a.Resolved })
	box.keep(t, "webhook-resolved.json")
	require.Equal(t, firing.Fingerprint, over.Fingerprint)
	require.False(t, over.StandsAt(time.Now()))
}

// One payload holds several alerts: of a host, of a VM that is not here, and of nothing.
func TestWebhookOfAGroup(t *testing.T) {
	site, file := &sink{}, tokenFile(t)
	box := newInbox(t, newHandler(t, site, file))
	am := start(t, `{url: "`+box.URL+in.Path+`", http_config: {authorization: {credentials_file: "`+file+`"}}}`)
	am.amtool(t, "alert", "add", "NodeDown", "instance=kvm1:9100", "rack=a")
	am.amtool(t, "alert", "add", "NodeDown", "instance=kvm9:9100")
	am.amtool(t, "alert", "add", "NodeDown", "rack=b")
	a := site.await(t, "the host's alert arrives", func(a in.Alert) bool { return a.Host == "kvm1" })
	require.Equal(t, fault.KindHostUnreachable, a.Kind)
	require.Empty(t, a.VM)
	rig.Eventually(t, "all three arrive", func() error { return lastHolds(box, 3) })
	box.keep(t, "webhook-group.json")
	for _, a := range site.all() {
		require.Equal(t, "kvm1", a.Host)
	}
}

// Alertmanager and the handler know each other by certificates.
func TestWebhookOverMutualTLS(t *testing.T) {
	site, ca := &sink{}, pki.New(t)
	cert, key := ca.Issue(t, "127.0.0.1")
	clientCert, clientKey := ca.Issue(t, "alertmanager")
	s, err := in.Listen("127.0.0.1:0", newHandler(t, site, ""), in.TLS{Cert: cert, Key: key, ClientCA: ca.File})
	require.NoError(t, err)
	serve(t, s)
	am := start(t, `{url: "https://`+s.Addr().String()+in.Path+`", http_config: {tls_config: {ca_file: "`+ca.File+
		`", cert_file: "`+clientCert+`", key_file: "`+clientKey+`"}}}`)
	am.amtool(t, "alert", "add", "DiskSlow", "domain=web1")
	a := site.await(t, "the alert arrives", func(a in.Alert) bool { return a.VM == "web1" })
	require.Equal(t, fault.KindAlert, a.Kind)
}

// amtool can talk to Holdfast as if it were an Alertmanager.
func TestAmtoolDirectly(t *testing.T) {
	site, file := &sink{}, tokenFile(t)
	box := newInbox(t, newHandler(t, site, file))
	web := filepath.Join(t.TempDir(), "http.yml")
	require.NoError(t, os.WriteFile(web, []byte(`authorization: {credentials_file: "`+file+`"}`), 0o600))
	env := []string{"HOME=" + t.TempDir()}
	to := []string{"--alertmanager.url=" + box.URL, "--http.config.file=" + web, "--no-version-check", "alert", "add"}

	amtool(t, env, append(to, "GuestDown", "vm=web1", "--annotation=summary=hangs")...)
	require.Len(t, site.all(), 1)
	a := site.all()[0]
	require.Equal(t, fault.KindHung, a.Kind)
	require.Equal(t, "hangs", a.Why())
	require.True(t, a.StandsAt(time.Now()))
	box.keep(t, "amtool-firing.json")

	past := time.Now().Add(-time.Minute).Format(time.RFC3339)
	amtool(t, env, append(to, "GuestDown", "vm=web1", "--start="+past, "--end="+past)...)
	require.Len(t, site.all(), 2)
	require.True(t, site.all()[1].Resolved)
	require.Equal(t, a.Fingerprint, site.all()[1].Fingerprint)
	box.keep(t, "amtool-resolved.json")

	out, errs, code := rig.Command(t, env, program(t, "amtool"), "--alertmanager.url="+box.URL, "--no-version-check", "alert", "add", "GuestDown", "vm=web1")
	require.NotZero(t, code, "without the token: %s%s", out, errs)
	require.Len(t, site.all(), 2)
}
