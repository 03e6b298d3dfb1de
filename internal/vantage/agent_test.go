package vantage

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"holdfast/internal/agent"
	"holdfast/internal/fault"
)

// answering is the URL of a server that answers everything alike.
func answering(t *testing.T, status int, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func figures(t *testing.T) string {
	t.Helper()
	text, err := json.Marshal(agent.Figures{BootID: "b", Now: time.Now()})
	assert.NoError(t, err)
	return string(text)
}

func TestAgent(t *testing.T) {
	for name, c := range map[string]struct {
		url  string
		says fault.Verdict
		why  string
	}{
		"answers":       {answering(t, http.StatusOK, figures(t)), fault.HostAlive, " answers"},
		"wants a token": {answering(t, http.StatusUnauthorized, ""), fault.HostAlive, "401 Unauthorized: it wants the token"},
		"is ill":        {answering(t, http.StatusInternalServerError, ""), fault.HostAlive, "500"},
		"is another":    {answering(t, http.StatusOK, "<html>"), fault.HostAlive, "cannot be read"},
		"moved":         {answering(t, http.StatusFound, ""), fault.HostAlive, "302"},
		"hangs":         {"http://" + listen(t), fault.HostAlive, "accepts, and the agent does not answer"},
		"does not run":  {"http://" + refuses(t), fault.HostAlive, "refuses: its kernel lives"},
		"a gateway":     {answering(t, http.StatusBadGateway, ""), fault.NoVerdict, "gateway"},
		"silent":        {"http://" + blackhole(t), fault.HostSilent, "does not answer within"},
		"no name":       {"http://" + noName + ":9467", fault.NoVerdict, "cannot be asked: no such host"},
		"no URL":        {"kvm1:9467", fault.NoVerdict, "neither http nor https"},
		"no route":      {"http://224.0.0.1:9467", fault.NoVerdict, "network is unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &asked{client: agent.Client{URL: c.url}, shortest: 50 * time.Millisecond}
			d := patience
			if name == "hangs" || name == "silent" {
				d = 500 * time.Millisecond
			}
			v := p.Look(within(t, d))
			assert.Equal(t, c.says, v.Says, v.Why)
			assert.Contains(t, v.Why, c.why)
			assert.Equal(t, "agent", v.From)
		})
	}
}
