package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"holdfast/internal/contract"
	"holdfast/starter"
	"holdfast/test/lab"
)

// How long each part may take before it has failed. These are for slow
// machines: on an idle one all of it takes half a minute.
const (
	readyWithin  = 2 * time.Minute
	seenWithin   = time.Minute
	bootWithin   = 2 * time.Minute
	repairWithin = 3 * time.Minute
)

func (d *demo) up(ctx context.Context) error {
	if _, err := d.down(ctx); err != nil { // an earlier demo
		return err
	}
	d.print.title("Two hosts, two VMs, a crash and its repair")
	if err := d.bringUp(ctx); err != nil {
		return err
	}
	temporal, err := client.Dial(client.Options{HostPort: d.dev.Temporal, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler))})
	if err != nil {
		return err
	}
	defer temporal.Close()
	incidents := starter.New(temporal)
	alone, err := d.personStops(ctx, incidents)
	if err != nil {
		return err
	}
	before, err := d.vmStatus(ctx)
	if err != nil {
		return err
	}
	killed, err := d.lab.Inject(ctx, lab.FaultKill, d.vm.Name, "")
	if err != nil {
		return err
	}
	d.print.step("SIGKILL to QEMU of %s: now Holdfast is on its own", d.vm.Name)
	summary, incident, err := d.awaitRepair(ctx, incidents, killed.At)
	if err != nil {
		return err
	}
	witnessed, err := d.awaitWitness(ctx, before)
	if err != nil {
		return err
	}
	samples, err := d.lab.Events(ctx)
	if err != nil {
		return err
	}
	repair, err := newRepair(killed, incident, samples)
	if err != nil {
		return err
	}
	repair.alone = alone
	d.print.timeline(repair)
	verdicts := judge(before, witnessed, repair.boot)
	d.print.verdicts("Seen from outside of libvirt, and from inside of "+d.vm.Name, verdicts)
	d.print.further(d.pointers(summary))
	if i := slices.IndexFunc(verdicts, func(v verdict) bool { return !v.ok }); i >= 0 {
		return fmt.Errorf("this must never be so: %s", verdicts[i].text)
	}
	return nil
}

// bringUp makes the hosts and VMs and starts Holdfast for them.
func (d *demo) bringUp(ctx context.Context) (err error) {
	d.lab, err = lab.Up(ctx, lab.Options{Name: labName, Binary: d.binary("lab"), Progress: d.print.progress})
	if err != nil {
		return err
	}
	info := d.lab.Info()
	d.vm, d.host = info.VMs[0], info.Hosts[0]
	for _, vm := range info.VMs {
		d.print.step("host %s: its own libvirtd; %s runs there and counts on its disk", vm.Host, vm.Name)
	}
	if err := d.startDev(info.SiteFile); err != nil {
		return err
	}
	if err := await(ctx, readyWithin, "worker and monitor to be ready", d.ready); err != nil {
		return err
	}
	d.print.step("holdfast dev: Temporal on %s, a worker, a monitor (process %d)", d.dev.Temporal, d.dev.PID)
	if d.dev.Temporal != usualTemporal || d.dev.UI != usualUI {
		d.print.step("its usual addresses, %s and %s, are taken: see below for those it has", usualTemporal, usualUI)
	}
	return nil
}

// personStops stops and starts the VM as a person would. It returns what the
// bare `virsh start` takes.
func (d *demo) personStops(ctx context.Context, incidents *starter.Client) (alone time.Duration, err error) {
	before, err := d.vmStatus(ctx)
	if err != nil {
		return 0, err
	}
	if _, err := d.lab.Virsh(ctx, d.host.Name, "destroy", d.vm.Name); err != nil {
		return 0, err
	}
	// Only a monitor that has seen it can have let it be.
	if err := await(ctx, seenWithin, "the monitor to see virsh destroy", d.events("stopped", 1)); err != nil {
		return 0, err
	}
	if err := await(ctx, seenWithin, "the monitor to have nothing open", d.quiet); err != nil {
		return 0, err
	}
	list, err := incidents.Incidents(ctx, starter.IncidentFilter{Site: siteName})
	if err != nil {
		return 0, err
	}
	if len(list) > 0 {
		return 0, fmt.Errorf("a person's `virsh destroy` opened an incident: %s", list[0].ID)
	}
	d.print.step("`virsh destroy %s`, as a person would: seen, understood as intent, no incident", d.vm.Name)
	if alone, err = d.bareStart(ctx); err != nil {
		return 0, err
	}
	d.print.step("`virsh start %s`, by hand: it alone takes %d ms", d.vm.Name, millis(alone))
	if err := await(ctx, seenWithin, "the monitor to see virsh start", d.events("started", 1)); err != nil {
		return 0, err
	}
	if err := await(ctx, seenWithin, "the monitor to have nothing open", d.quiet); err != nil {
		return 0, err
	}
	_, err = d.awaitWitness(ctx, before)
	return alone, err
}

// siteName is what every lab calls its site.
const siteName = "lab"

// bareStart starts the VM and returns what the command takes, from its start to
// its end.
func (d *demo) bareStart(ctx context.Context) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, "virsh", "-c", d.host.URI, "start", d.vm.Name)
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("virsh start %s: %w: %s", d.vm.Name, err, out)
	}
	return time.Since(began), nil
}

// events checks that the monitor has received so many events of a kind.
func (d *demo) events(kind string, least float64) func(context.Context) error {
	return func(ctx context.Context) error {
		page, err := d.get(ctx, "/metrics")
		if err != nil {
			return err
		}
		if n := sum(page, "holdfast_monitor_events_total", `kind="`+kind+`"`); n < least {
			return fmt.Errorf("it has received %g events of this kind", n)
		}
		return nil
	}
}

// quiet checks that the monitor knows of no fault and has nothing left to say.
func (d *demo) quiet(ctx context.Context) error {
	page, err := d.get(ctx, "/metrics")
	if err != nil {
		return err
	}
	for _, metric := range []string{"holdfast_monitor_faults_current", "holdfast_monitor_unsent_signals"} {
		if n := sum(page, metric); n > 0 {
			return fmt.Errorf("%s is %g", metric, n)
		}
	}
	return nil
}

// vmStatus is what the lab sees of the VM.
func (d *demo) vmStatus(ctx context.Context) (lab.VMStatus, error) {
	status, err := d.lab.Status(ctx)
	if err != nil {
		return lab.VMStatus{}, err
	}
	if !status.Sampler.Alive {
		return lab.VMStatus{}, fatal{errors.New("the lab's sampler has ended: nobody watches; make demo begins anew")}
	}
	i := slices.IndexFunc(status.VMs, func(v lab.VMStatus) bool { return v.UUID == d.vm.UUID })
	return status.VMs[i], nil
}

// awaitWitness waits until the VM has booted once more and counts on.
func (d *demo) awaitWitness(ctx context.Context, before lab.VMStatus) (now lab.VMStatus, err error) {
	err = await(ctx, bootWithin, d.vm.Name+" to boot and count on", func(ctx context.Context) error {
		if now, err = d.vmStatus(ctx); err != nil {
			return err
		}
		if len(now.Boots) <= len(before.Boots) || now.Acked <= before.Acked {
			return fmt.Errorf("boots: %d, acknowledged: %d", len(now.Boots), now.Acked)
		}
		return nil
	})
	return now, err
}

// awaitRepair waits for the incident that the kill opens, and for its end.
func (d *demo) awaitRepair(ctx context.Context, c *starter.Client, killed time.Time) (s starter.IncidentSummary, inc contract.Incident, err error) {
	ctx, cancel := context.WithTimeout(ctx, repairWithin)
	defer cancel()
	failed := func(err error) (starter.IncidentSummary, contract.Incident, error) {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("%s was not repaired within %s; the incident, if there is one, is in stage %q: %s", d.vm.Name, repairWithin, inc.Stage, inc.Why)
		}
		return s, inc, err
	}
	id, err := c.AwaitIncident(ctx, siteName, d.vm.Name, killed)
	if err != nil {
		return failed(err)
	}
	if inc, err = c.Watch(ctx, id, starter.WatchOptions{Seen: func(now contract.Incident) { inc = now }}); err != nil {
		return failed(err)
	}
	if inc.Outcome != contract.OutcomeRecovered {
		return s, inc, fmt.Errorf("%s ended as %q in stage %q: %s", id, inc.Outcome, inc.Stage, inc.Why)
	}
	list, err := c.Incidents(ctx, starter.IncidentFilter{Site: siteName, VM: d.vm.Name, Limit: 1})
	if err != nil || len(list) == 0 {
		return failed(err)
	}
	return list[0], inc, nil
}

// pointers are what to look at next.
func (d *demo) pointers(s starter.IncidentSummary) pointers {
	return pointers{
		page:     incidentPage(d.dev.UI, s.ID, s.RunID),
		list:     incidentsPage(d.dev.UI),
		temporal: d.dev.Temporal, site: siteName, vm: d.vm.Name, lab: labName, pid: strconv.Itoa(d.dev.PID),
		log: "build/demo/holdfast.log",
	}
}
