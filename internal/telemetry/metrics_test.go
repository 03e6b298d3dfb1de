package telemetry

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func newMetrics(t *testing.T) *Metrics {
	t.Helper()
	m, err := NewMetrics("holdfast-test")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Shutdown(context.Background())) })
	return m
}

// scrape is what Prometheus would read, in the text format.
func scrape(m *Metrics) string {
	w := httptest.NewRecorder()
	routes(m, nil, nil).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestEveryProcessSaysWhatItIs(t *testing.T) {
	got := scrape(newMetrics(t))
	assert.Regexp(t, `(?m)^holdfast_build_info\{goversion="go1\.[^"]+",version="[^"]+"\} 1$`, got)
	assert.Regexp(t, `(?m)^target_info\{service_name="holdfast-test",service_version="[^"]+"\} 1$`, got)
	assert.Contains(t, got, "\ngo_goroutines ")
	assert.Contains(t, got, "\nprocess_resident_memory_bytes ")
}

// The names that dashboards and alerts are written with.
func TestNamesAndBuckets(t *testing.T) {
	m := newMetrics(t)
	h := m.TemporalHandler().WithTags(map[string]string{"task_queue": "holdfast"})
	for _, timer := range []string{
		"temporal_workflow_task_execution_latency", "temporal_workflow_endtoend_latency", "holdfast_repair_duration",
	} {
		h.Timer(timer).Record(3 * time.Millisecond)
	}
	h.Counter("temporal_request").Inc(2)
	h.Counter("holdfast_incidents").Inc(1)
	h.Gauge("temporal_num_pollers").Update(4)

	got := scrape(m)
	for _, want := range []string{
		`temporal_workflow_task_execution_latency_seconds_bucket{task_queue="holdfast",le="0.001"} 0`,
		`temporal_workflow_task_execution_latency_seconds_bucket{task_queue="holdfast",le="0.005"} 1`,
		`temporal_workflow_task_execution_latency_seconds_bucket{task_queue="holdfast",le="60"} 1`,
		`temporal_workflow_task_execution_latency_seconds_sum{task_queue="holdfast"} 0.003`,
		`temporal_workflow_endtoend_latency_seconds_bucket{task_queue="holdfast",le="3600"} 1`,
		`holdfast_repair_duration_seconds_bucket{task_queue="holdfast",le="0.75"} 1`,
		`holdfast_repair_duration_seconds_bucket{task_queue="holdfast",le="3600"} 1`,
		`# TYPE temporal_request_total counter`,
		`temporal_request_total{task_queue="holdfast"} 2`,
		`holdfast_incidents_total{task_queue="holdfast"} 1`,
		`temporal_num_pollers{task_queue="holdfast"} 4`,
	} {
		assert.Contains(t, got, want+"\n")
	}
	assert.NotContains(t, got, "otel_scope", "labels that never differ")
}

// A metric counted through Temporal and through the meter is one metric.
func TestMeterAndHandlerCountTogether(t *testing.T) {
	m := newMetrics(t)
	c, err := m.Meter().Int64Counter("holdfast_sweeps")
	require.NoError(t, err)
	c.Add(context.Background(), 1)
	m.TemporalHandler().Counter("holdfast_sweeps").Inc(1)

	h, err := m.Meter().Float64Histogram("holdfast_sweep_duration", metric.WithUnit("s"), metric.WithDescription("One sweep."))
	require.NoError(t, err)
	h.Record(context.Background(), 0.6)

	got := scrape(m)
	assert.Contains(t, got, "\nholdfast_sweeps_total 2\n")
	assert.Contains(t, got, "# HELP holdfast_sweep_duration_seconds One sweep.\n")
	assert.Contains(t, got, `holdfast_sweep_duration_seconds_bucket{le="0.75"} 1`)
	assert.Equal(t, 1, strings.Count(got, "# TYPE holdfast_sweeps_total counter"))
}

func TestABadNameNeitherPanicsNorStopsTheRest(t *testing.T) {
	m := newMetrics(t)
	assert.NotPanics(t, func() { m.TemporalHandler().Counter("not a name").Inc(1) })
	m.TemporalHandler().Counter("holdfast_fine").Inc(1)
	assert.Contains(t, scrape(m), "\nholdfast_fine_total 1\n")
}

func TestTwoInOneProcessAreApart(t *testing.T) {
	a, b := newMetrics(t), newMetrics(t)
	a.TemporalHandler().Counter("holdfast_only_a").Inc(1)
	assert.Contains(t, scrape(a), "holdfast_only_a_total")
	assert.NotContains(t, scrape(b), "holdfast_only_a_total")
}

func TestCountingWhileScraping(t *testing.T) {
	m := newMetrics(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				m.TemporalHandler().WithTags(map[string]string{"host": "A"}).Counter("holdfast_x").Inc(1)
			}
		})
		wg.Go(func() {
			for range 5 {
				scrape(m)
			}
		})
	}
	wg.Wait()
	assert.Contains(t, scrape(m), `holdfast_x_total{host="A"} 800`)
}

// frontend is as much of a Temporal server as a client needs to connect.
type frontend struct {
	workflowservice.UnimplementedWorkflowServiceServer
}

func (frontend) GetSystemInfo(context.Context, *workflowservice.GetSystemInfoRequest) (*workflowservice.GetSystemInfoResponse, error) {
	return &workflowservice.GetSystemInfoResponse{}, nil
}

// The real SDK client counts into our registry, under the names documented.
func TestTemporalClientIsCounted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	workflowservice.RegisterWorkflowServiceServer(server, frontend{})
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(l) }() // ends with Stop
	t.Cleanup(server.Stop)

	m := newMetrics(t)
	c, err := client.Dial(client.Options{
		HostPort: l.Addr().String(), MetricsHandler: m.TemporalHandler(),
		Logger: TemporalLogger(NewLogger(io.Discard, FormatText, slog.LevelDebug)),
	})
	require.NoError(t, err)
	defer c.Close()
	_, err = c.WorkflowService().ListNamespaces(context.Background(), &workflowservice.ListNamespacesRequest{})
	require.Error(t, err, "the server does not know this call")

	got := scrape(m)
	for _, want := range []string{
		`temporal_request_latency_seconds_bucket`, `temporal_request_total`, `operation="GetSystemInfo"`, `temporal_request_failure_total`,
	} {
		assert.Contains(t, got, want)
	}
	assert.NotContains(t, got, "milliseconds")
	assert.Positive(t, strings.Count(got, `le="0.001"`))
}
