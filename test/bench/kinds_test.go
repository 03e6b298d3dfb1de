//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/monitor"
	"holdfast/test/lab"
	"holdfast/test/rig"
)

// detected is one thing that can be done, and what must be seen.
type detected struct {
	kind    fault.Kind
	how     string // it is done, where a kind can come about in several ways
	patient string // the setting that has to be waited for, if any
	breaks  func() (time.Time, error)
	mends   func() error
	once    bool // it cannot be done again in the same lab
}

func (d detected) name() string {
	if d.how == "" {
		return string(d.kind)
	}
	return fmt.Sprintf("%s (%s)", d.kind, d.how)
}

// temporal is a Reporter that can go away.
type temporal struct {
	nobody
	away atomic.Bool
}

func (r *temporal) Ping(context.Context) error {
	if r.away.Load() {
		return errors.New("connection refused")
	}
	return nil
}

// injector makes the lab's faults.
type injector struct {
	t        *testing.T
	lab      *lab.Lab
	watching *monitor.Monitor
}

type breaking = func() (time.Time, error)

func (in injector) inject(kind lab.FaultKind, targets ...string) breaking {
	return func() (first time.Time, err error) {
		for _, target := range targets {
			i, err := in.lab.Inject(in.t.Context(), kind, target, "")
			if err != nil {
				return i.At, err
			}
			if first.IsZero() {
				first = i.At
			}
		}
		return first, nil
	}
}

func (in injector) do(vm string, what lab.Task, o lab.TaskOptions) breaking {
	return func() (time.Time, error) {
		done, err := in.lab.Do(in.t.Context(), vm, what, o)
		return done.At, err
	}
}

func (in injector) virsh(host string, args ...string) breaking {
	return func() (time.Time, error) {
		at := time.Now()
		_, err := in.lab.Virsh(in.t.Context(), host, args...)
		return at, err
	}
}

// then does one thing after another; it began when the last of them did.
func then(steps ...breaking) breaking {
	return func() (at time.Time, err error) {
		for _, step := range steps {
			if at, err = step(); err != nil {
				return at, err
			}
		}
		return at, nil
	}
}

// mend is breaking of which nobody asks when.
func mend(steps ...breaking) func() error {
	return func() error {
		_, err := then(steps...)()
		return err
	}
}

// booted waits until guests are up, so that the next fault finds them as it should.
func (in injector) booted(vms ...string) breaking {
	return func() (time.Time, error) {
		in.agentsAnswer(vms...)
		return time.Time{}, nil
	}
}

func (in injector) agentsAnswer(vms ...string) {
	for _, vm := range vms {
		rig.Eventually(in.t, "the agent of "+vm+" answers", func() error {
			x, err := in.watching.Explain(in.t.Context(), contract.ExplainInput{Site: "lab", Name: vm})
			if err != nil {
				return err
			}
			for _, e := range x.Facts {
				if e.What == "guest agent" && e.Value == "answers" {
					return nil
				}
			}
			return fmt.Errorf("facts: %+v", x.Facts)
		})
	}
}

// disk moves VM3's disk away and back.
func (in injector) disk(from, to string) breaking {
	return func() (time.Time, error) {
		info := in.lab.Info()
		image := filepath.Join(info.Hosts[2].Images, filepath.Base(info.VMs[2].Disk))
		return time.Now(), os.Rename(image+from, image+to)
	}
}

// fails is something that must fail.
func fails(b breaking) breaking {
	return func() (time.Time, error) {
		at, err := b()
		if err == nil {
			return at, errors.New("it worked")
		}
		return at, nil
	}
}

// guests are the kinds of fault of a VM. VM1 is on A, VM2 on B, VM3 on C.
func (in injector) guests() []detected {
	none := lab.TaskOptions{}
	start := func(vm, host string) []breaking { return []breaking{in.virsh(host, "start", vm), in.booted(vm)} }
	stop := mend(in.do("VM2", lab.TaskStop, none))
	rule := "for " + detectFor.String()
	return []detected{
		{kind: fault.KindCrashed, how: "SIGKILL of QEMU", breaks: in.inject(lab.FaultKill, "VM1"), mends: mend(start("VM1", "A")...)},
		{kind: fault.KindPanicked, breaks: in.inject(lab.FaultPanic, "VM1"), mends: mend(append([]breaking{in.virsh("A", "destroy VM1")}, start("VM1", "A")...)...)},
		{
			kind:   fault.KindStartFailed,
			breaks: then(in.virsh("C", "destroy", "VM3"), in.disk("", ".away"), fails(in.virsh("C", "start", "VM3"))),
			mends:  mend(append([]breaking{in.disk(".away", "")}, start("VM3", "C")...)...),
		},
		{kind: fault.KindLost, breaks: in.inject(lab.FaultLose, "VM2"), mends: mend(in.inject(lab.FaultFind, "VM2"))},
		{kind: fault.KindWatchdog, breaks: in.do("VM3", lab.TaskWatchdog, none), mends: mend(in.virsh("C", "reset", "VM3"), in.booted("VM3"))},
		{
			kind: fault.KindIOError, breaks: then(in.inject(lab.FaultBreakDisk, "VM1"), in.do("VM1", lab.TaskWrite, lab.TaskOptions{Disk: "vdb"})),
			mends: mend(in.inject(lab.FaultMendDisk, "VM1"), in.virsh("A", "resume", "VM1"), in.do("VM1", lab.TaskStop, none)),
		},
		{
			kind: fault.KindNoSpace, breaks: then(in.do("VM1", lab.TaskWrite, none), in.inject(lab.FaultFillPool, "A")),
			mends: mend(in.inject(lab.FaultEmptyPool, "A"), in.virsh("A", "resume", "VM1"), in.do("VM1", lab.TaskStop, none)),
		},
		{
			kind: fault.KindPaused, how: "by nobody", patient: "hungAfter 30 s", breaks: in.virsh("A", "qemu-monitor-command", "VM1", "--hmp", "stop"),
			mends: mend(in.virsh("A", "qemu-monitor-command", "VM1", "--hmp", "cont")),
		},
		{kind: fault.KindHung, how: "SIGSTOP of QEMU", patient: "hungAfter 30 s", breaks: in.inject(lab.FaultHang, "VM1"), mends: mend(in.inject(lab.FaultUnhang, "VM1"))},
		{
			kind: fault.KindHung, how: "the guest stands still", patient: "hungAfter 30 s",
			breaks: then(in.booted("VM1"), in.inject(lab.FaultHangGuest, "VM1")), mends: mend(in.inject(lab.FaultUnhangGuest, "VM1")),
		},
		{
			kind: fault.KindBootFailed, patient: "bootWithin " + detectBoot.String(), breaks: then(in.booted("VM3"), in.do("VM3", lab.TaskMute, none), in.virsh("C", "reset", "VM3")),
			mends: mend(in.do("VM3", lab.TaskUnmute, none), in.booted("VM3")),
		},
		{kind: fault.KindCPU, patient: rule, breaks: in.do("VM2", lab.TaskCPU, none), mends: stop},
		{kind: fault.KindMemory, patient: rule, breaks: in.do("VM2", lab.TaskMemory, none), mends: stop},
		{kind: fault.KindDiskIO, patient: rule, breaks: in.do("VM2", lab.TaskDisk, none), mends: stop},
		{kind: fault.KindNet, patient: rule, breaks: in.do("VM2", lab.TaskNet, lab.TaskOptions{Rate: 1}), mends: stop},
		{
			kind: fault.KindClock, patient: "agents asked every 50 s", breaks: in.do("VM2", lab.TaskClock, lab.TaskOptions{By: time.Hour}),
			mends: mend(in.do("VM2", lab.TaskClock, lab.TaskOptions{By: -time.Hour})),
		},
		{
			// What the image took of its file system it does not give back.
			kind: fault.KindDiskFull, patient: rule, once: true, breaks: in.do("VM3", lab.TaskFill, none),
			mends: mend(in.virsh("C", "destroy", "VM3")),
		},
	}
}

// hosts are the kinds of fault of hosts, pools and the site.
func (in injector) hosts(reports *temporal) []detected {
	const silent = "unreachableAfter 15 s"
	all := []string{"A", "B", "C"}
	back := func(vm, host string) []breaking {
		return []breaking{in.inject(lab.FaultPowerOn, host), in.virsh(host, "start", vm), in.booted(vm)}
	}
	away := func(is bool) breaking {
		return func() (time.Time, error) {
			reports.away.Store(is)
			return time.Now(), nil
		}
	}
	return []detected{
		{kind: fault.KindPoolLost, patient: "pools 15 s", breaks: in.inject(lab.FaultLosePool, "B"), mends: mend(in.inject(lab.FaultRestorePool, "B"))},
		{kind: fault.KindPoolFull, patient: "pools 15 s", breaks: in.inject(lab.FaultFillPool, "B"), mends: mend(in.inject(lab.FaultEmptyPool, "B"))},
		{kind: fault.KindLibvirtdDead, patient: silent, breaks: in.inject(lab.FaultKillLibvirtd, "B"), mends: mend(in.inject(lab.FaultStartLibvirtd, "B"))},
		{kind: fault.KindLibvirtdHung, patient: silent, breaks: in.inject(lab.FaultHangLibvirtd, "B"), mends: mend(in.inject(lab.FaultStartLibvirtd, "B"))},
		{kind: fault.KindHostUnreachable, how: "cable pulled", patient: silent, breaks: in.inject(lab.FaultCut, "C"), mends: mend(in.inject(lab.FaultHeal, "C"))},
		{kind: fault.KindCutOff, breaks: in.inject(lab.FaultCut, all...), mends: mend(in.inject(lab.FaultHeal, all...))},
		{kind: fault.KindTemporalAway, patient: "temporalAfter 30 s", breaks: away(true), mends: mend(away(false))},
		{kind: fault.KindHostOff, how: "power cut", breaks: in.inject(lab.FaultPowerOff, "B"), mends: mend(back("VM2", "B")...)},
		{kind: fault.KindStorm, how: "two hosts of three", breaks: in.inject(lab.FaultPowerOff, "B", "C"), mends: mend(append(back("VM2", "B"), in.inject(lab.FaultPowerOn, "C"))...)},
	}
}
