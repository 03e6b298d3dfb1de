package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// exit is what guest-exec-status returns at the end.
type exit struct {
	Exited    bool
	Code      *int   `json:"exitcode"`
	Signal    int    `json:"signal"`
	Out       []byte `json:"out-data"`
	Err       []byte `json:"err-data"`
	Truncated bool   `json:"out-truncated"`
}

// execute runs a program through the agent and waits for its end.
func execute(t *testing.T, a *agent, arguments string) (exit, int) {
	t.Helper()
	returned, problem := ask(t, a, `{"execute":"guest-exec","arguments":`+arguments+`}`)
	require.Empty(t, problem)
	var begun struct{ PID int }
	require.NoError(t, json.Unmarshal(returned, &begun))
	var end exit
	require.Eventually(t, func() bool {
		returned, problem := ask(t, a, fmt.Sprintf(`{"execute":"guest-exec-status","arguments":{"pid":%d}}`, begun.PID))
		require.Empty(t, problem)
		require.NoError(t, json.Unmarshal(returned, &end))
		return end.Exited
	}, time.Minute, time.Millisecond)
	return end, begun.PID
}

func TestExec(t *testing.T) {
	a, _, _ := testAgent()
	end, pid := execute(t, a, `{"path":"sh","arg":["-c","cat; echo bad >&2; echo $X; exit 3"],"env":["X=y"],"input-data":"aGk=","capture-output":true}`)
	require.Equal(t, 3, *end.Code)
	require.Equal(t, "hiy\n", string(end.Out))
	require.Equal(t, "bad\n", string(end.Err))
	_, problem := ask(t, a, fmt.Sprintf(`{"execute":"guest-exec-status","arguments":{"pid":%d}}`, pid))
	require.Equal(t, "GenericError Invalid parameter 'pid'", problem, "an end is told once")

	end, _ = execute(t, a, `{"path":"true"}`)
	require.Zero(t, *end.Code)
	require.Empty(t, end.Out)
	end, _ = execute(t, a, `{"path":"sh","arg":["-c","kill -9 $$"]}`)
	require.Nil(t, end.Code)
	require.Equal(t, 9, end.Signal)
	end, _ = execute(t, a, `{"path":"sh","arg":["-c","yes | head -c 3000000"],"capture-output":true}`)
	require.Len(t, end.Out, maxOutput)
	require.True(t, end.Truncated)
	require.True(t, strings.HasPrefix(string(end.Out), "y\ny\n"))

	_, problem = ask(t, a, `{"execute":"guest-exec","arguments":{"path":"/no/such"}}`)
	require.Equal(t, "GenericError Failed to execute child process “/no/such” (no such file or directory)", problem)
	_, problem = ask(t, a, `{"execute":"guest-exec","arguments":{"path":"cat","input-data":"%"}}`)
	require.Contains(t, problem, "input-data")
}
