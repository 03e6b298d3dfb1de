package main

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"holdfast/test/lab/internal/task"
)

// testAgent is an agent in a guest that is none.
func testAgent() (*agent, *time.Time, chan int) {
	clock, powered := time.Unix(1000, 5), make(chan int, 1)
	return &agent{
		now:     func() time.Time { return clock },
		setTime: func(to time.Time) error { clock = to; return nil },
		rtc:     func() (time.Time, error) { return time.Unix(77, 0), nil },
		power:   func(command int) { powered <- command },
		flush:   func() (int, error) { return 2, nil },
		writes:  new(gate),
	}, &clock, powered
}

func TestAgentAnswers(t *testing.T) {
	a, clock, powered := testAgent()
	for request, want := range map[string]string{
		`{"execute":"guest-sync","arguments":{"id":1795346533111}}`: `{"return":1795346533111}`,
		`{"execute":"guest-ping"}`:                                  `{"return":{}}`,
		`{"execute":"guest-get-time"}`:                              `{"return":1000000000005}`,
	} {
		answer := a.answer([]byte(request))
		require.JSONEq(t, want, string(answer), request)
		require.Equal(t, byte('\n'), answer[len(answer)-1])
	}
	answer := a.answer([]byte("leftover{\xff" + `{"execute":"guest-sync-delimited","arguments":{"id":7}}`))
	require.Equal(t, "\xff{\"return\":7}\n", string(answer))

	require.Contains(t, string(a.answer([]byte(`{"execute":"guest-file-open"}`))), "CommandNotFound")
	require.Contains(t, string(a.answer([]byte(`{"execute":"guest-sync"}`))), "GenericError")
	require.Contains(t, string(a.answer([]byte(`{"exec`))), "GenericError")
	require.Nil(t, a.answer(nil))

	require.JSONEq(t, `{"return":{}}`, string(a.answer([]byte(`{"execute":"guest-set-time","arguments":{"time":5000000000}}`))))
	require.Equal(t, int64(5), clock.Unix())
	require.JSONEq(t, `{"return":{}}`, string(a.answer([]byte(`{"execute":"guest-set-time"}`))))
	require.Equal(t, int64(77), clock.Unix())
	a.setTime = func(time.Time) error { return errors.New("not today") }
	require.Contains(t, string(a.answer([]byte(`{"execute":"guest-set-time"}`))), "not today")

	require.Nil(t, a.answer([]byte(`{"execute":"guest-shutdown","arguments":{"mode":"powerdown"}}`)), "the end of the guest is the answer")
	require.Equal(t, unix.LINUX_REBOOT_CMD_POWER_OFF, <-powered)
	require.Contains(t, string(a.answer([]byte(`{"execute":"guest-shutdown","arguments":{"mode":"fly"}}`))), "GenericError")
}

func TestAgentSaysWhatItKnows(t *testing.T) {
	a, _, _ := testAgent()
	var said struct {
		Return struct {
			Commands []struct {
				Name    string
				Enabled bool
			} `json:"supported_commands"`
		}
	}
	require.NoError(t, json.Unmarshal(a.answer([]byte(`{"execute":"guest-info"}`)), &said))
	require.Len(t, said.Return.Commands, len(agentCommands))
	for _, command := range said.Return.Commands {
		if command.Name != "guest-shutdown" {
			require.NotContains(t, string(a.answer([]byte(`{"execute":"`+command.Name+`"}`))), "CommandNotFound")
		}
	}
}

func TestAgentTakesAnything(t *testing.T) {
	a, _, _ := testAgent()
	rapid.Check(t, func(t *rapid.T) { a.answer(rapid.SliceOf(rapid.Byte()).Draw(t, "line")) })
}

func TestSilentAgentAnswersLater(t *testing.T) {
	a, _, _ := testAgent()
	v := newVoice(a)
	ping := []byte(`{"execute":"guest-ping"}`)
	require.NotNil(t, v.hear(ping))
	v.set(true, false)
	require.Nil(t, v.hear(ping))
	require.Nil(t, v.hear([]byte(`{"execute":"guest-get-time"}`)))
	answers, open := v.catchUp()
	require.True(t, open)
	require.Empty(t, answers)

	v.set(false, false)
	answers, _ = v.catchUp()
	require.Equal(t, `{"return":{}}`+"\n"+`{"return":1000000000005}`+"\n", string(answers))
	answers, _ = v.catchUp()
	require.Empty(t, answers, "each once")
	require.NotNil(t, v.hear(ping))

	v.set(true, true)
	_, open = v.catchUp()
	require.False(t, open)
	for range 2 * keptLines {
		v.hear(ping)
	}
	require.Len(t, v.kept, keptLines)
}

func TestNoteCountsBoots(t *testing.T) {
	require.Equal(t, note{}, note{}.next())
	require.Equal(t, note{Mute: true}, note{Mute: true}.next(), "for all boots")
	two := note{Mute: true, Boots: 2, Closed: true}
	require.Equal(t, note{Mute: true, Boots: 1, Closed: true}, two.next())
	require.Equal(t, note{}, two.next().next(), "the second boot is the last")
}

func TestTasksThatAreNone(t *testing.T) {
	tasks := newTasks(newVoice(nil))
	err := tasks.do(task.Request{ID: "1", Do: "dance"}, new(task.Reply))
	require.ErrorContains(t, err, "it can do cpu, memory")
	err = tasks.do(task.Request{ID: "1", Do: task.Memory, Options: task.Options{Percent: 100}}, new(task.Reply))
	require.ErrorContains(t, err, "less than 4 MiB")
	err = tasks.do(task.Request{ID: "1", Do: task.Write, Options: task.Options{Disk: "vdz"}}, new(task.Reply))
	require.ErrorContains(t, err, "open disk vdz")
	require.Empty(t, tasks.list())
}

func TestTaskIsDoneOnce(t *testing.T) {
	tasks := newTasks(newVoice(nil))
	hear := func(id string) task.Reply {
		line, err := task.Line(task.Request{ID: id, Do: task.CPU})
		require.NoError(t, err)
		reply, ok := task.ParseReply(tasks.hear(line))
		require.True(t, ok)
		require.Equal(t, id, reply.ID)
		require.Len(t, reply.Running, 1)
		return reply
	}
	hear("a")
	begun := tasks.begun["cpu"]
	hear("a")
	require.Same(t, begun, tasks.begun["cpu"])
	hear("b")
	require.NotSame(t, begun, tasks.begun["cpu"])
	require.Nil(t, tasks.hear([]byte("{")))
	tasks.end(func(*underway) bool { return true })
}

func TestTaskLastsAndEnds(t *testing.T) {
	tasks := newTasks(newVoice(nil))
	begin := func(o task.Options) {
		err := tasks.do(task.Request{ID: "1", Do: task.CPU, Options: o}, new(task.Reply))
		require.NoError(t, err)
	}
	begin(task.Options{})
	require.Len(t, tasks.list(), 1)
	begin(task.Options{})
	require.Len(t, tasks.list(), 1, "in place of the first")
	err := tasks.do(task.Request{ID: "1", Do: task.Stop, Options: task.Options{What: task.Net}}, new(task.Reply))
	require.NoError(t, err)
	require.Len(t, tasks.list(), 1)
	err = tasks.do(task.Request{ID: "1", Do: task.Stop, Options: task.Options{What: task.CPU}}, new(task.Reply))
	require.NoError(t, err)
	require.Empty(t, tasks.list())

	begin(task.Options{For: time.Millisecond})
	require.Eventually(t, func() bool { return len(tasks.list()) == 1 && tasks.list()[0][:13] == "cpu has ended" }, time.Minute, time.Millisecond)
}
