package main

import (
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ask asks an agent for something and returns what it returned, or its error.
func ask(t *testing.T, a *agent, line string) (returned json.RawMessage, problem string) {
	t.Helper()
	var said struct {
		Return json.RawMessage
		Error  struct{ Class, Desc string }
	}
	require.NoError(t, json.Unmarshal(a.answer([]byte(line)), &said), line)
	return said.Return, strings.TrimSpace(said.Error.Class + " " + said.Error.Desc)
}

func TestFrozenAgentHoldsWritesUpAndRefusesMost(t *testing.T) {
	a, _, _ := testAgent()
	returned, _ := ask(t, a, `{"execute":"guest-fsfreeze-thaw"}`)
	require.Equal(t, "0", string(returned), "nothing was frozen")

	// A freeze waits for a write that is under way.
	a.writes.enter()
	frozen := make(chan string)
	go func() { frozen <- string(a.answer([]byte(`{"execute":"guest-fsfreeze-freeze"}`))) }()
	require.Eventually(t, func() bool {
		err := a.writes.tryEnter()
		if err == nil {
			a.writes.leave()
		}
		return err != nil
	}, time.Minute, time.Millisecond, "nobody else begins one")
	require.False(t, a.writes.frozen())
	a.writes.leave()
	require.JSONEq(t, `{"return":2}`, <-frozen)

	returned, _ = ask(t, a, `{"execute":"guest-fsfreeze-status"}`)
	require.Equal(t, `"frozen"`, string(returned))
	for command, whileFrozen := range agentCommands {
		if !whileFrozen {
			_, problem := ask(t, a, `{"execute":"`+command+`"}`)
			require.Equal(t, "CommandNotFound Command "+command+" has been disabled: the agent is in frozen state", problem)
		}
	}
	_, problem := ask(t, a, `{"execute":"guest-ping"}`)
	require.Empty(t, problem)
	returned, _ = ask(t, a, `{"execute":"guest-info"}`)
	require.Contains(t, string(returned), `"name":"guest-exec","enabled":false`)
	require.Contains(t, string(returned), `"name":"guest-ping","enabled":true`)

	require.ErrorIs(t, a.writes.tryEnter(), errFrozen)
	var written atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.writes.enter()
		written.Store(true)
		a.writes.leave()
	}()
	require.Never(t, written.Load, 50*time.Millisecond, time.Millisecond)
	returned, _ = ask(t, a, `{"execute":"guest-fsfreeze-thaw"}`)
	require.Equal(t, "2", string(returned))
	<-done
	returned, _ = ask(t, a, `{"execute":"guest-fsfreeze-status"}`)
	require.Equal(t, `"thawed"`, string(returned))
}

func TestFreezeThatCannotFlushIsNone(t *testing.T) {
	a, _, _ := testAgent()
	a.flush = func() (int, error) { return 0, errors.New("disk on fire") }
	_, problem := ask(t, a, `{"execute":"guest-fsfreeze-freeze"}`)
	require.Equal(t, "GenericError disk on fire", problem)
	require.False(t, a.writes.frozen())
	require.NoError(t, a.writes.tryEnter())
	a.writes.leave()
}
