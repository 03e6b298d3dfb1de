package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/contract"
	"holdfast/test/lab"
)

// repair is how a VM came to run again after its QEMU was killed.
type repair struct {
	vm, host string
	killed   time.Time
	moments  []moment
	// seen and started are when Holdfast knew of the death and when the VM ran again.
	seen, started time.Time
	// alone is what the same `virsh start` takes by itself.
	alone time.Duration
	// boot is the first thing that the guest acknowledged afterwards.
	boot lab.Sample
}

// moment is a line of the timeline.
type moment struct {
	at         time.Time
	what, note string
}

// newRepair puts together what the lab's sampler and the incident say.
func newRepair(killed lab.Injection, inc contract.Incident, samples []lab.Sample) (repair, error) {
	r := repair{vm: killed.VM, host: killed.Host, killed: killed.At, seen: inc.Fault.First, started: inc.Started}
	ended, ok1 := first(samples, killed, string(lab.SampleEnd))
	alive, ok2 := first(samples, killed, string(lab.SampleStart))
	boot, ok3 := first(samples, killed, string(lab.SampleBoot))
	switch {
	case !ok1 || !ok2 || !ok3:
		return r, fmt.Errorf("the lab's sampler has seen QEMU of %s die: %t, start: %t, its guest boot: %t; `bin/lab events --name %s` shows what it saw", r.vm, ok1, ok2, ok3, labName)
	case inc.Started.IsZero() || inc.Verified.IsZero():
		return r, errors.New("the incident does not say when the VM was started and verified")
	}
	r.boot = boot
	r.moments = []moment{
		{killed.At, "fault injected", fmt.Sprintf("SIGKILL to QEMU, process %d on host %s", killed.PID, killed.Host)},
		{ended.At, "QEMU is dead", "as /proc shows it"},
		{inc.Fault.First, "seen by the monitor", "libvirt: " + inc.Fault.Seen.String()},
		{inc.Opened, "incident opened", inc.ID},
		{alive.At, "QEMU is alive again", fmt.Sprintf("as /proc shows it: process %d on host %s", alive.PID, alive.Host)},
		{inc.Started, "started", story(inc, "started on ")},
		{boot.At, "guest counts on", fmt.Sprintf("its disk is written again, from %d", boot.N)},
		{inc.Verified, "verified", inc.Why},
	}
	slices.SortStableFunc(r.moments[1:], func(a, b moment) int { return a.at.Compare(b.at) })
	return r, nil
}

// first is the first event of a kind that befell the VM after it was killed.
func first(samples []lab.Sample, killed lab.Injection, kind string) (lab.Sample, bool) {
	since := killed.At.Truncate(10 * time.Millisecond) // the kernel's clock for processes
	i := slices.IndexFunc(samples, func(s lab.Sample) bool {
		return string(s.Event) == kind && s.VM == killed.VM && !s.At.Before(since)
	})
	if i < 0 {
		return lab.Sample{}, false
	}
	return samples[i], true
}

// story is the newest line of an incident that begins so.
func story(inc contract.Incident, prefix string) string {
	for _, e := range slices.Backward(inc.Timeline) {
		if strings.HasPrefix(e.Text, prefix) {
			return e.Text
		}
	}
	return ""
}

// verdict is a thing that must be so, and whether it is.
type verdict struct {
	ok   bool
	text string
}

// judge checks what must be so after a repair, by what the lab saw of the VM
// before the fault and afterwards. boot is its guest's first sign of life.
func judge(before, after lab.VMStatus, boot lab.Sample) []verdict {
	disk := after.Highest()
	out := []verdict{
		{after.Acked <= disk, fmt.Sprintf("no write lost: %d acknowledged, %d on disk", after.Acked, disk)},
		{
			boot.N > before.Acked && after.Acked > before.Acked && !slices.Contains(before.Boots, boot.BootID),
			fmt.Sprintf("counts on: at %d before the kill, %d first under the new boot ID %s, %d now", before.Acked, boot.N, short(boot.BootID), after.Acked),
		},
		{!after.TwoCopies, "never two copies of " + after.Name},
	}
	if after.Acked > disk {
		out[0].text = fmt.Sprintf("writes were lost: %d acknowledged, %d on disk", after.Acked, disk)
	}
	if !out[1].ok {
		out[1].text = "does not count on: " + strings.TrimPrefix(out[1].text, "counts on: ")
	}
	if after.TwoCopies {
		out[2].text = "two copies of " + after.Name + " ran at once"
	}
	return out
}

// short is the part of an ID that tells two apart.
func short(id string) string { return id[:min(len(id), 8)] }

// sum adds up the series of a metric that have all the labels, in Prometheus'
// text format.
func sum(page []byte, metric string, labels ...string) float64 {
	var total float64
	lines := bufio.NewScanner(bytes.NewReader(page))
	for lines.Scan() {
		name, rest, _ := strings.Cut(lines.Text(), " ")
		if i := strings.LastIndexByte(lines.Text(), '}'); i >= 0 {
			name, rest = lines.Text()[:i+1], lines.Text()[i+1:]
		}
		series, _, _ := strings.Cut(name, "{")
		missing := slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(name, l) })
		fields := strings.Fields(rest)
		if series != metric || missing || len(fields) == 0 {
			continue
		}
		if n, err := strconv.ParseFloat(fields[0], 64); err == nil {
			total += n
		}
	}
	return total
}
