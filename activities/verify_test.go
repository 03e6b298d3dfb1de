package activities_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/internal/ladder"
)

const (
	patience = 30 * time.Second
	briefly  = 400 * time.Millisecond // enough for one try
)

// verified runs Verify for VM1 on A.
func verified(t *testing.T, c *simulated.Cluster, in contract.VerifyInput) contract.VerifyResult {
	t.Helper()
	sim, _ := c.VM("VM1")
	in.VM, in.Host = fault.VM{UUID: sim.UUID, Name: "VM1"}, "A"
	out, err := of(t, c, nil).Verify(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, out.OK, out.Why == "", out.Why)
	require.False(t, out.At.IsZero())
	return out
}

func oneVM() *simulated.Cluster {
	return simulated.New(simulated.Options{Site: site, Hosts: 1, VMsPerHost: 1})
}

// whats are the checks, and whether they passed.
func whats(checks []contract.Check) map[string]bool {
	out := make(map[string]bool, len(checks))
	for _, c := range checks {
		out[c.What] = c.OK
	}
	return out
}

func TestVerifyWithoutProbes(t *testing.T) {
	c := oneVM()
	out := verified(t, c, contract.VerifyInput{})
	require.True(t, out.OK)
	require.Empty(t, out.Checks)
	require.NoError(t, c.PanicVM("VM1"))
	out = verified(t, c, contract.VerifyInput{})
	require.False(t, out.OK)
	require.True(t, out.Active)
	require.Equal(t, "it does not stay running: it is crashed (panicked)", out.Why)
	require.NoError(t, c.LoseVM("VM1"))
	require.Contains(t, verified(t, c, contract.VerifyInput{}).Why, "not there any more")
}

func TestVerifyEndsWhenTheVMDoes(t *testing.T) {
	for name, probes := range map[string]ladder.Probes{
		"while it has to stay running": {},
		"while its probes are tried":   {TCP: "127.0.0.1:1", Within: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			c := oneVM()
			time.AfterFunc(50*time.Millisecond, func() { _ = c.KillVM("VM1") })
			out := verified(t, c, contract.VerifyInput{StableFor: time.Hour, Probes: probes})
			require.False(t, out.OK)
			require.Contains(t, out.Why, "shut off (crashed)")
		})
	}
}

func TestVerifyTheAgent(t *testing.T) {
	for _, c := range []struct {
		want     string
		expected bool
		asked    bool
	}{
		{ladder.AgentRequired, false, true}, {ladder.AgentAuto, true, true},
		{ladder.AgentAuto, false, false}, {ladder.AgentIgnored, true, false}, {"", true, false},
	} {
		cluster := oneVM()
		in := contract.VerifyInput{Probes: ladder.Probes{Agent: c.want, Within: time.Minute}, AgentExpected: c.expected}
		out := verified(t, cluster, in)
		require.True(t, out.OK)
		require.Equal(t, c.asked, len(out.Checks) == 2, "%+v", c)

		require.NoError(t, cluster.MuteAgent("VM1"))
		in.Probes.Within = briefly
		out = verified(t, cluster, in)
		require.Equal(t, !c.asked, out.OK, "%+v", c)
		if c.asked {
			require.Contains(t, out.Why, "guest agent did not pass within 400ms: ")
			require.Contains(t, out.Why, "it does not answer")
		}
	}
}

// A guest that answers once and then hangs is not well.
func TestVerifyAsksTheAgentAgain(t *testing.T) {
	c := oneVM()
	time.AfterFunc(time.Second, func() { _ = c.MuteAgent("VM1") })
	out := verified(t, c, contract.VerifyInput{StableFor: 2 * time.Second, Probes: ladder.Probes{Agent: ladder.AgentRequired, Within: time.Minute}})
	require.False(t, out.OK)
	require.Contains(t, out.Why, "answered, and does not any more")
	require.Equal(t, map[string]bool{"guest agent": true, "guest agent, at the end": false}, whats(out.Checks))
}

func TestVerifyTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	in := contract.VerifyInput{Probes: ladder.Probes{TCP: address, Within: patience}}
	require.True(t, verified(t, oneVM(), in).OK)
	require.NoError(t, l.Close())
	in.Probes.Within = briefly
	out := verified(t, oneVM(), in)
	require.False(t, out.OK)
	require.Contains(t, out.Why, "tcp "+address+" did not pass within 400ms: ")
	require.Contains(t, out.Why, "refused")
}

func TestVerifyHTTPIsTriedAgain(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	out := verified(t, oneVM(), contract.VerifyInput{Probes: ladder.Probes{HTTP: s.URL + "/health?token=hunter2", Within: patience}})
	require.True(t, out.OK, out.Why)
	require.Equal(t, int32(3), asked.Load())
	require.Equal(t, "http "+s.URL+"/health", out.Checks[0].What, "without what may be a secret")
	require.Equal(t, "answers 200 OK", out.Checks[0].Said)
	require.Positive(t, out.Checks[0].Took)
}

func TestVerifyHTTPThatIsNotWell(t *testing.T) {
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		case "/silent":
			<-hang
		case "/endless":
			_, _ = w.Write([]byte("begins"))
			w.(http.Flusher).Flush()
			<-hang
		}
	}))
	defer s.Close()
	defer close(hang)
	for path, said := range map[string]string{
		"/moved": "answers 302 Found", "/broken": "answers 500", "/silent": "deadline", "/endless": "does not end",
	} {
		out := verified(t, oneVM(), contract.VerifyInput{Probes: ladder.Probes{HTTP: s.URL + path, Within: briefly}})
		require.False(t, out.OK, path)
		require.Contains(t, out.Why, said)
	}
}

func TestVerifyCommand(t *testing.T) {
	c := oneVM()
	in := contract.VerifyInput{Probes: ladder.Probes{Command: []string{"/usr/bin/check", "--password=hunter2"}, Within: briefly}}
	out := verified(t, c, in)
	require.False(t, out.OK)
	require.Contains(t, out.Why, "command /usr/bin/check did not pass")
	require.Contains(t, out.Why, "no such program")
	require.NotContains(t, out.Why, "hunter2")
	require.NoError(t, c.SetGuestCommand("VM1", "/usr/bin/check", hypervisor.GuestExit{Code: 3, Stderr: []byte("no database\nmore")}))
	out = verified(t, c, in)
	require.Contains(t, out.Why, "exits with 3: no database")
	require.NotContains(t, out.Why, "more")
	require.NoError(t, c.SetGuestCommand("VM1", "/usr/bin/check", hypervisor.GuestExit{}))
	in.Probes.Within = patience
	require.True(t, verified(t, c, in).OK)
}

// All of them must pass, and all are told of.
func TestVerifyAllProbes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	out := verified(t, oneVM(), contract.VerifyInput{Probes: ladder.Probes{
		Agent: ladder.AgentRequired, TCP: l.Addr().String(), Command: []string{"false"}, Within: briefly,
	}})
	require.False(t, out.OK)
	require.Equal(t, map[string]bool{"guest agent": true, "tcp " + l.Addr().String(): true, "command false": false}, whats(out.Checks))
}

func TestVerifyIsCancelled(t *testing.T) {
	c := oneVM()
	sim, _ := c.VM("VM1")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err := of(t, c, nil).Verify(ctx, contract.VerifyInput{
		VM: fault.VM{UUID: sim.UUID}, Host: "A", Probes: ladder.Probes{TCP: "127.0.0.1:1", Within: time.Hour},
	})
	require.ErrorIs(t, err, context.Canceled)
}

func TestVerifyThatCannotBe(t *testing.T) {
	c := oneVM()
	sim, _ := c.VM("VM1")
	a := of(t, c, nil)
	vm := fault.VM{UUID: sim.UUID}
	_, err := a.Verify(t.Context(), contract.VerifyInput{VM: vm, Host: "A", Probes: ladder.Probes{TCP: "x:1"}})
	require.ErrorContains(t, err, "verify.within")
	require.NoError(t, c.CutHost("A"))
	_, err = a.Verify(t.Context(), contract.VerifyInput{VM: vm, Host: "A", Probes: ladder.Probes{TCP: "127.0.0.1:1", Within: time.Hour}})
	require.ErrorContains(t, err, "no route to host", "what the VM does is unknown")
}
