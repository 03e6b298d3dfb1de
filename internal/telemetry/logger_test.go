package telemetry

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLoggerWritesJSON(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(&out, FormatJSON, slog.LevelInfo)
	log.Debug("not this")
	log.With("host", "A").Info("repaired", "took", 1500*time.Millisecond, "err", errors.New("none"))

	var line map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &line), out.String())
	at, err := time.Parse(time.RFC3339, line["time"].(string))
	require.NoError(t, err)
	assert.Equal(t, time.UTC, at.Location())
	delete(line, "time")
	assert.Equal(t, map[string]any{"level": "INFO", "msg": "repaired", "host": "A", "took": "1.5s", "err": "none"}, line)
}

func TestLoggerWritesText(t *testing.T) {
	var out bytes.Buffer
	NewLogger(&out, FormatText, slog.LevelDebug).Debug("host is back", "host", "A", "after", time.Minute)
	assert.Regexp(t, `^time=\S+Z level=DEBUG msg="host is back" host=A after=1m0s\n$`, out.String())
}

func TestLevelCanBeChangedLater(t *testing.T) {
	var out bytes.Buffer
	var level slog.LevelVar
	log := NewLogger(&out, FormatText, &level)
	log.Debug("before")
	level.Set(slog.LevelDebug)
	log.Debug("after")
	assert.NotContains(t, out.String(), "before")
	assert.Contains(t, out.String(), "after")
}

func TestFormatIsAFlag(t *testing.T) {
	var f Format
	var _ encoding.TextMarshaler = f
	require.NoError(t, f.UnmarshalText([]byte("JSON")))
	assert.Equal(t, FormatJSON, f)
	assert.EqualError(t, f.UnmarshalText([]byte("xml")), `unknown log format "xml"; known: text, json`)
	assert.Equal(t, FormatJSON, f)
}

func TestTemporalLogsThroughOurs(t *testing.T) {
	var out bytes.Buffer
	log := TemporalLogger(NewLogger(&out, FormatText, slog.LevelInfo))
	log.Debug("quiet")
	log.Warn("retry", "Attempt", 3, "WorkflowID", "vm/a/b")
	assert.Equal(t, 1, strings.Count(out.String(), "\n"))
	assert.Contains(t, out.String(), "level=WARN msg=retry Attempt=3 WorkflowID=vm/a/b")
}
