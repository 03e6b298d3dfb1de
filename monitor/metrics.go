package monitor

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
)

// Metrics of one monitor.
type Metrics struct {
	raised         *prometheus.CounterVec // kind
	current        *prometheus.GaugeVec   // kind
	hosts          prometheus.Gauge
	connected      prometheus.Gauge
	unsent         prometheus.Gauge
	signalFailures prometheus.Counter
	temporalUp     prometheus.Gauge
	alarmsUnsent   *prometheus.GaugeVec   // alarm
	alarmFailures  *prometheus.CounterVec // alarm
	alarmUp        *prometheus.GaugeVec   // alarm
	sampleSeconds  prometheus.Histogram
	sampleFailures *prometheus.CounterVec // host
	questions      *prometheus.CounterVec // about
	sweepSeconds   prometheus.Histogram
	lastSweep      *prometheus.GaugeVec   // host
	events         *prometheus.CounterVec // kind
	sweepFailures  *prometheus.CounterVec // host
}

// NewMetrics makes the metrics and registers them with reg; a nil reg is none.
// It fails if reg has them already: two monitors in one process need two.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	const ns, sub = "holdfast", "monitor"
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}
	}
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}
	}
	m := &Metrics{
		raised: prometheus.NewCounterVec(counter("faults_total",
			"Faults that this monitor has raised."), []string{"kind"}),
		current: prometheus.NewGaugeVec(gauge("faults_current",
			"Faults that stand now."), []string{"kind"}),
		hosts: prometheus.NewGauge(gauge("hosts",
			"Hosts that this monitor watches.")),
		connected: prometheus.NewGauge(gauge("hosts_connected",
			"Hosts that answer.")),
		unsent: prometheus.NewGauge(gauge("unsent_signals",
			"Faults and clearings that were not delivered to Temporal yet.")),
		signalFailures: prometheus.NewCounter(counter("signal_failures_total",
			"Attempts to deliver a fault or a clearing that failed.")),
		temporalUp: prometheus.NewGauge(gauge("temporal_up",
			"0 while the last attempt to reach Temporal failed, otherwise 1.")),
		alarmsUnsent: prometheus.NewGaugeVec(gauge("alarms_unsent",
			"Faults and clearings that this receiver has not taken yet."), []string{"alarm"}),
		alarmFailures: prometheus.NewCounterVec(counter("alarm_failures_total",
			"Attempts to deliver a fault or a clearing to this receiver that failed."), []string{"alarm"}),
		alarmUp: prometheus.NewGaugeVec(gauge("alarm_up",
			"0 while the last attempt to reach this receiver failed, otherwise 1."), []string{"alarm"}),
		sampleSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: ns, Subsystem: sub, Name: "sample_seconds",
			Help:    "How long the statistics of a host took.",
			Buckets: prometheus.ExponentialBuckets(.001, 2, 14), // to 8 s
		}),
		sampleFailures: prometheus.NewCounterVec(counter("sample_failures_total",
			"Statistics that the host did not answer."), []string{"host"}),
		questions: prometheus.NewCounterVec(counter("questions_total",
			"What hosts, guest agents and vantage points were asked besides."), []string{"about"}),
		sweepSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: ns, Subsystem: sub, Name: "sweep_seconds",
			Help:    "How long a complete listing of a host took.",
			Buckets: prometheus.ExponentialBuckets(.001, 2, 14), // to 8 s
		}),
		lastSweep: prometheus.NewGaugeVec(gauge("last_sweep_timestamp_seconds",
			"When the host was asked for its last complete listing; 0: never."), []string{"host"}),
		events: prometheus.NewCounterVec(counter("events_total",
			"Events received from hosts."), []string{"kind"}),
		sweepFailures: prometheus.NewCounterVec(counter("sweep_failures_total",
			"Listings that the host did not answer."), []string{"host"}),
	}
	m.temporalUp.Set(1)
	for _, k := range fault.Kinds() {
		if k != fault.KindRequested { // that is a person's, not a monitor's
			m.raised.WithLabelValues(string(k))
			m.current.WithLabelValues(string(k))
		}
	}
	m.events.WithLabelValues(string(hypervisor.EventOverflow)) // the one to alert on
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.raised, m.current, m.hosts, m.connected, m.unsent, m.signalFailures,
		m.temporalUp, m.sweepSeconds, m.lastSweep, m.events, m.sweepFailures,
		m.alarmsUnsent, m.alarmFailures, m.alarmUp, m.sampleSeconds, m.sampleFailures, m.questions,
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("monitor: register metrics: %w", err)
		}
	}
	return m, nil
}

// outboxMetrics are those of one way out.
type outboxMetrics struct {
	unsent   prometheus.Gauge
	failures prometheus.Counter
	up       prometheus.Gauge
}

func (m *Metrics) temporal() outboxMetrics {
	return outboxMetrics{m.unsent, m.signalFailures, m.temporalUp}
}

func (m *Metrics) alarm(name string) outboxMetrics {
	o := outboxMetrics{m.alarmsUnsent.WithLabelValues(name), m.alarmFailures.WithLabelValues(name), m.alarmUp.WithLabelValues(name)}
	o.up.Set(1)
	return o
}

// host makes the series of a host, so that they are there before it answers.
func (m *Metrics) host(name string) {
	m.hosts.Inc()
	m.lastSweep.WithLabelValues(name)
	m.sweepFailures.WithLabelValues(name)
	m.sampleFailures.WithLabelValues(name)
}
