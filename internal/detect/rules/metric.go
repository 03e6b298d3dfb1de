package rules

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/fault"
)

// Places of the metrics in [Values], in the order of the table below.
const (
	iVMCPU = iota
	iVMSteal
	iVMMemory
	iVMDiskOps
	iVMDiskLatency
	iVMDiskFull
	iVMNetBytes
	iVMNetDrops
	iVMClock
	iHostCPU
	iHostMemory
	iHostDiskOps
	iHostPSICPU
	iHostPSIMemory
	iHostPSIIO
	iHostClock
	iPoolFull
	metricCount
)

// metricInfo is what is known of a metric.
type metricInfo struct {
	metric  Metric
	subject fault.SubjectType
	unit    string
	device  bool // one value for each device of the subject
}

var metrics = [metricCount]metricInfo{
	iVMCPU:         {VMCPU, fault.SubjectVM, "%", false},
	iVMSteal:       {VMSteal, fault.SubjectVM, "%", false},
	iVMMemory:      {VMMemory, fault.SubjectVM, "%", false},
	iVMDiskOps:     {VMDiskOps, fault.SubjectVM, "/s", false},
	iVMDiskLatency: {VMDiskLatency, fault.SubjectVM, "ms", false},
	iVMDiskFull:    {VMDiskFull, fault.SubjectVM, "%", true},
	iVMNetBytes:    {VMNetBytes, fault.SubjectVM, "bytes/s", false},
	iVMNetDrops:    {VMNetDrops, fault.SubjectVM, "/s", false},
	iVMClock:       {VMClock, fault.SubjectVM, "s", false},
	iHostCPU:       {HostCPU, fault.SubjectHost, "%", false},
	iHostMemory:    {HostMemory, fault.SubjectHost, "%", false},
	iHostDiskOps:   {HostDiskOps, fault.SubjectHost, "/s", false},
	iHostPSICPU:    {HostPSICPU, fault.SubjectHost, "%", false},
	iHostPSIMemory: {HostPSIMemory, fault.SubjectHost, "%", false},
	iHostPSIIO:     {HostPSIIO, fault.SubjectHost, "%", false},
	iHostClock:     {HostClock, fault.SubjectHost, "s", false},
	iPoolFull:      {PoolFull, fault.SubjectPool, "%", false},
}

var byMetric = func() map[Metric]int {
	m := make(map[Metric]int, metricCount)
	for i, info := range metrics {
		m[info.metric] = i
	}
	return m
}()

// Metrics lists every metric, in the order of the documentation.
func Metrics() []Metric {
	out := make([]Metric, metricCount)
	for i, info := range metrics {
		out[i] = info.metric
	}
	return out
}

// Known reports whether there is such a metric.
func (m Metric) Known() bool {
	_, known := byMetric[m]
	return known
}

// Subject is what the metric is measured of; empty of no metric at all.
func (m Metric) Subject() fault.SubjectType {
	if i, known := byMetric[m]; known {
		return metrics[i].subject
	}
	return ""
}

// Unit is the metric's unit: "%", "/s", "ms", "bytes/s" or "s".
func (m Metric) Unit() string {
	if i, known := byMetric[m]; known {
		return metrics[i].unit
	}
	return ""
}

// ByDevice reports whether each device of the subject has a value of its own.
func (m Metric) ByDevice() bool {
	i, known := byMetric[m]
	return known && metrics[i].device
}

// Kinds lists the kinds of fault that a rule may raise: those that are about a
// measure, and no others. A threshold must not be able to say that a VM crashed.
func Kinds() []fault.Kind {
	var kinds []fault.Kind
	for _, r := range Defaults() {
		if !slices.Contains(kinds, r.Kind) {
			kinds = append(kinds, r.Kind)
		}
	}
	return kinds
}

// Format writes a value of the metric for people, with its unit.
func (m Metric) Format(v float64) string { return number(v, m.Unit()) }

// number writes a value with its unit, with as many digits as matter.
func number(v float64, unit string) string {
	if unit == "bytes/s" {
		for _, u := range []struct {
			size float64
			name string
		}{{1e9, "GB/s"}, {1e6, "MB/s"}, {1e3, "kB/s"}} {
			if v >= u.size || v <= -u.size {
				return digits(v/u.size) + " " + u.name
			}
		}
		return digits(v) + " B/s"
	}
	if unit == "/s" {
		return digits(v) + "/s"
	}
	return digits(v) + " " + unit
}

// digits writes one digit behind the point, two where the number is small, and
// none where there is none.
func digits(v float64) string {
	decimals := 1
	if v > -1 && v < 1 {
		decimals = 2
	}
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	for s[len(s)-1] == '0' {
		s = s[:len(s)-1]
	}
	if s[len(s)-1] == '.' {
		s = s[:len(s)-1]
	}
	if s == "-0" {
		return "0"
	}
	return s
}

// Short writes 5m where time.Duration writes 5m0s.
func Short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// short writes no less than a millisecond.
func short(d time.Duration) string { return Short(d.Round(time.Millisecond)) }
