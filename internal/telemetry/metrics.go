package telemetry

import (
	"context"
	"fmt"
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.temporal.io/sdk/client"
	temporalotel "go.temporal.io/sdk/contrib/opentelemetry"
)

// MaxSeries bounds the label values of one instrument, so that a mistake with a
// label cannot fill the memory: 1,000 hosts with 16 values each.
const MaxSeries = 16_000

var (
	// latencyBuckets, in seconds, are for one step: a call, a task.
	latencyBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	// durationBuckets, in seconds, are for what has steps: a repair, a workflow.
	// They are dense around one second, where a good repair ends.
	durationBuckets = []float64{.05, .1, .25, .5, .75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600}
)

// Metrics is where one process counts. It sets no globals: a process may have
// several, as tests and `holdfast dev` do.
type Metrics struct {
	// Registry is what /metrics serves. Whoever has a collector of its own
	// registers it here.
	Registry *prometheus.Registry

	provider *sdkmetric.MeterProvider
	meter    metric.Meter
	handler  client.MetricsHandler
}

// NewMetrics returns the metrics of a service, such as holdfast-worker, which is
// the label service_name of target_info. Instruments that cannot be made, for a
// bad name, go to OpenTelemetry's error handler and count nothing.
func NewMetrics(service string) (*Metrics, error) {
	m := &Metrics{Registry: prometheus.NewRegistry()}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "holdfast_build_info",
		Help:        "Always 1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{"version": Version(), "goversion": runtime.Version()},
	})
	info.Set(1)
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		info,
	} {
		if err := m.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("register collector: %w", err)
		}
	}
	exporter, err := otelprom.New(
		otelprom.WithRegisterer(m.Registry),
		otelprom.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes),
		otelprom.WithoutScopeInfo(), // one scope: labels that never differ
	)
	if err != nil {
		return nil, fmt.Errorf("make Prometheus exporter: %w", err)
	}
	m.provider = sdkmetric.NewMeterProvider(
		sdkmetric.WithReader(exporter),
		sdkmetric.WithView(buckets),
		sdkmetric.WithCardinalityLimit(MaxSeries),
		sdkmetric.WithResource(resource.NewSchemaless(
			attribute.String("service.name", service),
			attribute.String("service.version", Version()),
		)),
	)
	m.meter = m.provider.Meter("holdfast")
	m.handler = temporalotel.NewMetricsHandler(temporalotel.MetricsHandlerOptions{
		Meter:   m.meter,
		OnError: otel.Handle, // the default panics
		// Without it every counter is a gauge, without _total.
		UseMonotonicCounters: true,
	})
	return m, nil
}

// buckets is the view that gives histograms their buckets. It is one function
// because an instrument that matches two views is counted twice.
func buckets(i sdkmetric.Instrument) (sdkmetric.Stream, bool) {
	if i.Kind != sdkmetric.InstrumentKindHistogram {
		return sdkmetric.Stream{}, false
	}
	bounds := latencyBuckets
	switch {
	case strings.HasPrefix(i.Name, "holdfast_"), strings.HasSuffix(i.Name, "_endtoend_latency"):
		bounds = durationBuckets
	case !strings.HasPrefix(i.Name, "temporal_"):
		return sdkmetric.Stream{}, false
	}
	return sdkmetric.Stream{
		Name: i.Name, Description: i.Description, Unit: i.Unit,
		Aggregation: sdkmetric.AggregationExplicitBucketHistogram{Boundaries: bounds},
	}, true
}

// TemporalHandler is for client.Options.MetricsHandler. Workflows and activities
// reach it through their context, everything else may use it directly.
func (m *Metrics) TemporalHandler() client.MetricsHandler { return m.handler }

// Meter makes instruments that Temporal's handler has no word for, such as
// observable gauges. Names start with holdfast_, durations are in seconds with
// the unit "s".
func (m *Metrics) Meter() metric.Meter { return m.meter }

// Shutdown ends the counting. After it the registry serves only the collectors
// that do not go through OpenTelemetry, so stop the server first.
func (m *Metrics) Shutdown(ctx context.Context) error {
	if err := m.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("shut metrics down: %w", err)
	}
	return nil
}
