package in

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// result is what became of one alert: a label of a metric.
type result string

const (
	resultTaken   result = "taken"
	resultOwn     result = "own"     // one of Holdfast's, that came back
	resultIgnored result = "ignored" // it is about nothing here, or cannot be used
	resultFailed  result = "failed"  // it could not be taken, and is to be sent again
)

// Metrics of the way in.
type Metrics struct {
	alerts   *prometheus.CounterVec // result
	requests *prometheus.CounterVec // code
}

// NewMetrics makes the metrics and registers them with reg; a nil reg is none.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		alerts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "holdfast", Subsystem: "alerts_in", Name: "alerts_total",
			Help: "Alerts received, by what became of them.",
		}, []string{"result"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "holdfast", Subsystem: "alerts_in", Name: "requests_total",
			Help: "Requests with alerts, by the status of the answer.",
		}, []string{"code"}),
	}
	for _, r := range []result{resultTaken, resultOwn, resultIgnored, resultFailed} {
		m.alerts.WithLabelValues(string(r))
	}
	for _, code := range []int{http.StatusOK, http.StatusBadRequest, http.StatusUnauthorized, http.StatusTooManyRequests} {
		m.requests.WithLabelValues(strconv.Itoa(code))
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.alerts, m.requests} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("alerts in: register metrics: %w", err)
		}
	}
	return m, nil
}
