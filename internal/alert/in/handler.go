package in

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"holdfast/internal/alert"
)

// Path is where alerts are posted: Alertmanager's own, so that a Prometheus or
// amtool that knows no more than an address finds it.
const Path = "/api/v2/alerts"

// atOnce is how many requests are worked on at once: it bounds the memory that
// bodies take to 16 times MaxBody.
const atOnce = 16

// Options say who may send what. Zero values mean the default.
type Options struct {
	Mapping Mapping // without any label: [DefaultMapping], with its Kinds
	Sink    Sink

	TokenFile alert.TokenFile // empty: no token is asked for
	MaxBody   int64           // bytes; 1 MiB
	Rate      float64         // requests/s in the long run; 50
	Burst     int             // requests that may come at once; 100

	// ResolveTimeout is how long an alert in Prometheus' format stands that does not
	// say when it ends; 5 min, as in Alertmanager. Prometheus always says.
	ResolveTimeout time.Duration
	// Longest is how long any alert stands that is not said again; 25 h. It must be
	// longer than the repeat_interval of an Alertmanager that uses the webhook.
	Longest time.Duration

	Logger  *slog.Logger     // nil: none
	Metrics *Metrics         // nil: counted, not served
	Now     func() time.Time // nil: time.Now
}

// Handler answers POST /api/v2/alerts. It looks at neither path nor host: [Listen]
// serves it, or any mux.
type Handler struct {
	o       Options
	log     *slog.Logger
	limit   *rate.Limiter
	busy    chan struct{} // a slot for each request that is worked on
	refused rate.Sometimes
}

// NewHandler makes a Handler. It fails if nobody could ever use it.
func NewHandler(o Options) (*Handler, error) {
	if o.Sink == nil {
		return nil, errors.New("alerts in: nobody takes the alerts: set Options.Sink")
	}
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	if err := o.Mapping.Validate(); err != nil {
		return nil, err
	}
	if o.TokenFile != "" {
		if _, err := o.TokenFile.Read(); err != nil {
			return nil, fmt.Errorf("alerts in: %w", err)
		}
	}
	return &Handler{
		o: o, log: o.Logger, limit: rate.NewLimiter(rate.Limit(o.Rate), o.Burst),
		busy:    make(chan struct{}, atOnce),
		refused: rate.Sometimes{First: 3, Interval: 10 * time.Second},
	}, nil
}

func (o *Options) setDefaults() error {
	if len(o.Mapping.VM) == 0 && len(o.Mapping.Host) == 0 {
		d := DefaultMapping()
		o.Mapping.VM, o.Mapping.Host = d.VM, d.Host
	}
	if o.MaxBody <= 0 {
		o.MaxBody = 1 << 20
	}
	if o.Rate <= 0 {
		o.Rate = 50
	}
	if o.Burst <= 0 {
		o.Burst = 100
	}
	if o.ResolveTimeout <= 0 {
		o.ResolveTimeout = 5 * time.Minute
	}
	if o.Longest <= 0 {
		o.Longest = 25 * time.Hour
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Metrics == nil {
		var err error
		if o.Metrics, err = NewMetrics(nil); err != nil {
			return err
		}
	}
	return nil
}

// problem is a request that is refused as a whole.
type problem struct {
	status int
	why    string
	retry  time.Duration // when to try again; 0: not said
}

func refuse(status int, format string, args ...any) *problem {
	return &problem{status: status, why: fmt.Sprintf(format, args...)}
}

// ServeHTTP takes a payload, or says why not.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	if answer, p := h.serve(w, r); p != nil {
		status = p.status
		h.refused.Do(func() {
			h.log.Warn("alerts refused", "from", r.RemoteAddr, "status", p.status, "why", p.why)
		})
		header := w.Header()
		switch {
		case p.retry > 0:
			header.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retry.Seconds()))))
		case status == http.StatusUnauthorized:
			header.Set("WWW-Authenticate", `Bearer realm="holdfast"`)
		case status == http.StatusMethodNotAllowed:
			header.Set("Allow", http.MethodPost)
		}
		// A plain string is what clients of Alertmanager's API expect of an error.
		say(w, status, p.why)
	} else {
		say(w, status, answer)
	}
	h.o.Metrics.requests.WithLabelValues(strconv.Itoa(status)).Inc()
}

func say(w http.ResponseWriter, status int, what any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(what) // whoever asked may have gone
}

// serve holds a request against every limit, the cheapest first; only who may
// send at all uses up what others share.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) (*Answer, *problem) {
	if r.Method != http.MethodPost {
		return nil, refuse(http.StatusMethodNotAllowed, "alerts are posted")
	}
	if p := h.authorize(r); p != nil {
		return nil, p
	}
	if p := h.admit(); p != nil {
		return nil, p
	}
	select {
	case h.busy <- struct{}{}:
		defer func() { <-h.busy }()
	default:
		p := refuse(http.StatusTooManyRequests, "%d requests are being worked on: try again", atOnce)
		p.retry = time.Second
		return nil, p
	}
	body, p := h.read(w, r)
	if p != nil {
		return nil, p
	}
	list, err := parse(body)
	if many := tooMany(0); errors.As(err, &many) {
		return nil, refuse(http.StatusRequestEntityTooLarge, "%v", err)
	}
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%v", err)
	}
	return h.take(r.Context(), list)
}

// authorize wants the token, if there is one. Hashes are compared, so that the
// time it takes tells not even the token's length.
func (h *Handler) authorize(r *http.Request) *problem {
	if h.o.TokenFile == "" {
		return nil
	}
	want, err := h.o.TokenFile.Read()
	if err != nil { // without the token nobody can be let in
		h.refused.Do(func() { h.log.Error("alerts cannot be taken", "error", err) })
		return refuse(http.StatusServiceUnavailable, "the token cannot be checked now: see this monitor's log")
	}
	scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return refuse(http.StatusUnauthorized, "send the header Authorization: Bearer and the token")
	}
	a, b := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(strings.TrimSpace(got)))
	if subtle.ConstantTimeCompare(a[:], b[:]) != 1 {
		return refuse(http.StatusUnauthorized, "the token is not the one that is expected")
	}
	return nil
}

// admit holds the request against the rate.
func (h *Handler) admit() *problem {
	now := h.o.Now()
	turn := h.limit.ReserveN(now, 1)
	wait := turn.DelayFrom(now)
	if wait <= 0 {
		return nil
	}
	turn.CancelAt(now)
	p := refuse(http.StatusTooManyRequests, "more than %g requests a second: try again later", h.o.Rate)
	p.retry = wait
	return p
}

func (h *Handler) read(w http.ResponseWriter, r *http.Request) ([]byte, *problem) {
	// A page in a browser cannot send this type to another site unasked.
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return nil, refuse(http.StatusUnsupportedMediaType, "the content type is %.60q: send application/json", r.Header.Get("Content-Type"))
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, refuse(http.StatusUnsupportedMediaType, "the content encoding is %.60q: send it plain", e)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.o.MaxBody))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", over.Limit)
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "the body could not be read: %v", err)
	}
	return body, nil
}

// Answer is what a sender is told with 200.
type Answer struct {
	Taken   int       `json:"taken"`
	Ignored []Ignored `json:"ignored"`
}

// Ignored is an alert that was not taken.
type Ignored struct {
	Index     int    `json:"index"` // in the payload, from 0
	Alertname string `json:"alertname,omitempty"`
	Reason    string `json:"reason"`
}

// take hands each alert to the Sink.
func (h *Handler) take(ctx context.Context, list []posted) (*Answer, *problem) {
	now := h.o.Now().UTC().Round(0)
	answer := &Answer{Ignored: []Ignored{}}
	failed, failure := 0, error(nil)
	for i, p := range list {
		err := h.takeOne(ctx, p, now)
		r := resultOf(err)
		h.o.Metrics.alerts.WithLabelValues(string(r)).Inc()
		switch r {
		case resultTaken:
			answer.Taken++
		case resultFailed:
			failed, failure = failed+1, err
		default:
			name := alert.Printable(alert.Shorten(p.labels["alertname"], 100))
			answer.Ignored = append(answer.Ignored, Ignored{Index: i, Alertname: name, Reason: err.Error()})
			h.log.Debug("alert ignored", "alertname", name, "why", err)
		}
	}
	if failure != nil {
		h.log.Error("alerts could not be taken; their sender is told to send them again", "failed", failed, "of", len(list), "error", failure)
		return nil, refuse(http.StatusServiceUnavailable, "%d of %d alerts could not be taken now: send them again", failed, len(list))
	}
	return answer, nil
}

// errOwn keeps Holdfast from hearing itself.
const errOwn Ignore = "it is Holdfast's own, sent back"

func (h *Handler) takeOne(ctx context.Context, p posted, now time.Time) error {
	if p.labels[alert.Mark] == alert.MarkValue {
		return errOwn
	}
	a, err := examine(p, h.o.Mapping, times{now: now, resolve: h.o.ResolveTimeout, longest: h.o.Longest})
	if err != nil {
		return err
	}
	return h.o.Sink.Alert(ctx, a)
}

func resultOf(err error) result {
	var ignore Ignore
	switch {
	case err == nil:
		return resultTaken
	case errors.Is(err, errOwn):
		return resultOwn
	case errors.As(err, &ignore):
		return resultIgnored
	}
	return resultFailed
}
