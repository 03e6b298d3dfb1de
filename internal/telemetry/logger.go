package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	sdklog "go.temporal.io/sdk/log"
)

// Format is how log lines are written. It can be a flag: it implements
// encoding.TextMarshaler and encoding.TextUnmarshaler, as slog.Level does.
type Format string

// Formats of a log line.
const (
	FormatText Format = "text" // key=value, for people and logfmt readers
	FormatJSON Format = "json" // one JSON object a line
)

// MarshalText returns the format's name.
func (f Format) MarshalText() ([]byte, error) { return []byte(f), nil }

// UnmarshalText accepts the name of a format in any case.
func (f *Format) UnmarshalText(text []byte) error {
	switch v := Format(strings.ToLower(string(text))); v {
	case FormatText, FormatJSON:
		*f = v
		return nil
	}
	return fmt.Errorf("unknown log format %q; known: %s, %s", text, FormatText, FormatJSON)
}

// NewLogger returns a logger that writes lines of at least this level to w; a
// *slog.LevelVar changes the level later. Times are UTC with milliseconds, and
// durations are written like 1.5s in both formats. An unknown format is text.
func NewLogger(w io.Writer, format Format, level slog.Leveler) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: readable}
	if format == FormatJSON {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// readable makes lines of hosts in different time zones comparable, and keeps
// the JSON handler from writing durations as nanoseconds.
func readable(groups []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindTime:
		if a.Key == slog.TimeKey && len(groups) == 0 {
			a.Value = slog.StringValue(a.Value.Time().UTC().Format("2006-01-02T15:04:05.000Z07:00"))
		}
	case slog.KindDuration:
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// TemporalLogger gives Temporal's client and worker our logger.
func TemporalLogger(l *slog.Logger) sdklog.Logger { return sdklog.NewStructuredLogger(l) }
