// Package telemetry is how Holdfast shows what it does: logs, metrics, and the
// HTTP server that Prometheus and a load balancer ask.
//
// # Metrics
//
// A process has one [Metrics] and one registry. Everything counted through
// Temporal's metrics handler or through [Metrics.Meter] comes out there under
// Prometheus names: a counter x as x_total, a timer x as the histogram
// x_seconds, a gauge under its own name. So workflows and activities count
// holdfast_incidents with the handler of their context, which does not count
// again on replay, and Prometheus sees holdfast_incidents_total.
//
// What Temporal's SDK reports, among others:
//
//	temporal_workflow_task_execution_latency_seconds          histogram, 1ms to 60s
//	temporal_workflow_task_schedule_to_start_latency_seconds  histogram, 1ms to 60s
//	temporal_workflow_task_replay_latency_seconds             histogram, 1ms to 60s
//	temporal_activity_execution_latency_seconds               histogram, 1ms to 60s
//	temporal_activity_schedule_to_start_latency_seconds       histogram, 1ms to 60s
//	temporal_request_latency_seconds                          histogram, 1ms to 60s
//	temporal_workflow_endtoend_latency_seconds                histogram, 50ms to 1h
//	temporal_activity_succeed_endtoend_latency_seconds        histogram, 50ms to 1h
//	temporal_request_total, temporal_request_failure_total    counter
//	temporal_long_request_total (polls) and its _failure_total counter
//	temporal_workflow_completed_total, _failed_total          counter
//	temporal_activity_execution_failed_total                  counter
//	temporal_worker_task_slots_available, _used               gauge
//	temporal_num_pollers, temporal_sticky_cache_size          gauge
//
// The SDK's documentation has the same names without the unit and without
// _total. Durations called holdfast_* have the buckets 50ms to 1h, dense around
// the seconds that a repair takes. Beside these are the collectors for the Go
// runtime (go_*) and the process (process_*), target_info with the service's name,
// and holdfast_build_info.
//
// A label is a host or a kind, never a VM: past [MaxSeries] label values an
// instrument counts the rest under otel_metric_overflow="true".
package telemetry
