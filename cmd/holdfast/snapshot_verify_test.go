package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
)

func TestVerifyLinesThatMakeNoSense(t *testing.T) {
	for line, says := range map[string]string{
		"snapshot verify VM1":                       "wants SNAPSHOT",
		"snapshot verify VM1 good --within 0s":      "--within 0s: a guest gets more than nothing, and at most 1h",
		"snapshot verify VM1 good --within 2h":      "--within 2h0m0s",
		"backup check VM1 weekly --within 1m":       "--within is for --boot: give both",
		"backup check VM1 weekly --boot --within 0": "--within 0s",
	} {
		t.Run(line, func(t *testing.T) {
			out, errOut, code := holdfast(t, strings.Fields(line)...)
			require.Equal(t, exitUsage, code, errOut)
			require.Empty(t, out)
			require.Contains(t, errOut, says)
		})
	}
}

func TestTrialFinding(t *testing.T) {
	print := func(format format, found contract.TrialResult) (string, error) {
		var b bytes.Buffer
		a := &app{out: &b, err: &b, format: format}
		err := a.printTrial(contract.SnapshotReply{Trial: &found}, "VM1: snapshot good on A", found)
		return b.String(), err
	}
	found := contract.TrialResult{Booted: true, By: contract.TrialByAgent, Why: "its guest agent answers", Took: 12345 * time.Millisecond}
	text, err := print(formatTable, found)
	require.NoError(t, err)
	require.Equal(t, "VM1: snapshot good on A boots, as seen after 12.3s: its guest agent answers\n", text)
	text, err = print(formatJSON, found)
	require.NoError(t, err)
	require.Contains(t, text, `"by": "agent"`)

	found = contract.TrialResult{Why: "it does not stay running: it is crashed (panicked)", Screen: &contract.EvidenceItem{Path: "/kept/screenshot.png"}}
	text, err = print(formatTable, found)
	require.EqualError(t, err, "VM1: snapshot good on A does not boot: it does not stay running: it is crashed (panicked); its screen is kept in /kept/screenshot.png")
	require.Empty(t, text)
	text, err = print(formatJSON, found)
	require.Error(t, err)
	require.Contains(t, text, `"booted": false`, "for whoever reads it")
}
