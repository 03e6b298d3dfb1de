package task

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestCheck(t *testing.T) {
	for _, good := range []Request{
		{Do: CPU}, {Do: Memory, Options: Options{Percent: 100, For: time.Hour}}, {Do: Write, Options: Options{Disk: "vdb"}},
		{Do: Clock}, {Do: Clock, Options: Options{By: -time.Second}}, {Do: Watchdog}, {Do: Watchdog, Options: Options{Timeout: 30 * time.Second}},
		{Do: Mute, Options: Options{Boots: 1, Closed: true}}, {Do: Generation}, {Do: SetGeneration, Options: Options{Generation: 2}}, {Do: Corrupt},
	} {
		require.NoError(t, good.Check(), "%+v", good)
	}
	for _, bad := range []Request{
		{}, {Do: "dance"}, {Do: CPU, Options: Options{For: -1}}, {Do: Disk, Options: Options{Rate: -1}}, {Do: Mute, Options: Options{Boots: -1}},
		{Do: Fill, Options: Options{Percent: 101}}, {Do: Write, Options: Options{Disk: "../x"}}, {Do: Write, Options: Options{Disk: "sda"}},
		{Do: Watchdog, Options: Options{Timeout: 3 * time.Second}}, {Do: Watchdog, Options: Options{Timeout: time.Minute}},
		{Do: Mute, Options: Options{Boots: 1, For: time.Second}},
	} {
		require.Error(t, bad.Check(), "%+v", bad)
	}
}

func TestLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := Request{ID: rapid.StringN(1, 40, -1).Draw(t, "id"), Do: rapid.SampledFrom(Kinds()).Draw(t, "kind"), Options: Options{
			For: time.Duration(rapid.Int64().Draw(t, "for")), Disk: rapid.String().Draw(t, "disk"), Closed: rapid.Bool().Draw(t, "closed"),
		}}
		line, err := Line(sent)
		require.NoError(t, err)
		require.Equal(t, byte('\n'), line[len(line)-1])
		require.NotContains(t, string(line[:len(line)-1]), "\n")
		got, ok := ParseRequest(line)
		require.True(t, ok)
		require.Equal(t, sent, got)
	})
	for _, line := range []string{"", "{}", "x", `{"id":`, `{"id":"a","do":1}`} {
		_, ok := ParseRequest([]byte(line))
		require.False(t, ok, line)
	}
	reply, ok := ParseReply([]byte(`{"id":"a","error":"no","running":["cpu"]}` + "\r\n"))
	require.True(t, ok)
	require.Equal(t, Reply{ID: "a", Error: "no", Running: []string{"cpu"}}, reply)
	_, ok = ParseReply(nil)
	require.False(t, ok)
}
