package replay

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/internal/ladder"
	"holdfast/starter"
	"holdfast/test/rig"
	"holdfast/worker"
)

// watchRig is a site with a worker, whose VMs may be annotated to be observed
// only, and a monitor that answers questions.
type watchRig struct {
	c       client.Client
	s       *starter.Client
	cluster *simulated.Cluster
}

func (watchRig) Faults(context.Context) (contract.FaultsResult, error) {
	return contract.FaultsResult{Site: rig.Site, Monitor: "recorder"}, nil
}

func (watchRig) Explain(context.Context, contract.ExplainInput) (contract.ExplainResult, error) {
	return contract.ExplainResult{}, errors.New("there is no such thing")
}

func newWatchRig(t *testing.T) watchRig {
	r := watchRig{c: rig.Dial(t, rig.Temporal(t).Address), cluster: simulated.New(simulated.Options{Site: rig.Site, Hosts: 2, VMsPerHost: 4})}
	r.s = starter.New(r.c)
	acts, err := activities.New(activities.Options{
		Site: rig.Site, Hosts: r.cluster.Site(), Policy: rig.Policy(), CallTimeout: time.Second,
		PolicyFor: func(_ fault.Kind, _ map[string]string, annotated string) ladder.Policy {
			p := rig.Policy()
			p.Observe, p.ObserveWhy = annotated == "observe", "the annotation of the VM"
			return p
		},
	})
	require.NoError(t, err)
	work, err := worker.New(worker.Options{Client: r.c, Site: rig.Site, Activities: acts, StopTimeout: time.Second})
	require.NoError(t, err)
	answer, err := worker.NewMonitorService(r.c, rig.Site, r, worker.MonitorOptions{})
	require.NoError(t, err)
	for _, run := range []func(context.Context) error{work.Run, answer.Run} {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- run(ctx) }()
		t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
	}
	return r
}

// vmFault says that something is wrong with a VM.
func (r watchRig) vmFault(t *testing.T, vm string, kind fault.Kind, mode string) fault.Fault {
	v, _ := r.cluster.VM(vm)
	on, err := r.cluster.ActiveOn(vm)
	require.NoError(t, err)
	f := rig.Crash(v, append(on, "A")[0])
	f.Kind, f.Mode, f.ID, f.Why = kind, mode, fmt.Sprintf("%s of %s", kind, vm), fmt.Sprintf("%s: %s", vm, kind)
	return f
}

func (r watchRig) report(t *testing.T, f fault.Fault) {
	f.Last = time.Now().UTC()
	require.NoError(t, r.s.ReportFault(t.Context(), f))
}

func (r watchRig) over(t *testing.T, f fault.Fault) {
	require.NoError(t, r.s.ReportCleared(t.Context(), f, fault.Sighting{Host: f.Host, State: "running", At: time.Now().UTC()}))
}

// incident waits until the newest incident of something satisfies the condition.
func (r watchRig) incident(t *testing.T, what string, ok func(contract.Incident) bool) contract.Incident {
	t.Helper()
	var inc contract.Incident
	rig.Eventually(t, "incident of "+what, func() error {
		id, err := r.s.FindIncident(t.Context(), rig.Site, what)
		if err != nil {
			return err
		}
		if inc, err = r.s.Incident(t.Context(), id); err == nil && !ok(inc) {
			err = fmt.Errorf("%s is in stage %s: %s", id, inc.Stage, inc.Why)
		}
		return err
	})
	return inc
}

func inStage(s contract.Stage) func(contract.Incident) bool {
	return func(i contract.Incident) bool { return i.Stage == s }
}

func knows(faults int) func(contract.Incident) bool {
	return func(i contract.Incident) bool { return i.More == faults }
}

func recordWatching(t *testing.T) {
	r := newWatchRig(t)
	r.watchedVMs(t)
	r.observedVMs(t)
	r.hosts(t)
	r.questions(t)
}

// watchedVMs are at their limit: one until that is over, one until it dies.
func (r watchRig) watchedVMs(t *testing.T) {
	hung := r.vmFault(t, "VM1", fault.KindCPU, "")
	r.report(t, hung)
	r.incident(t, "VM1", inStage(contract.StageWatch))
	alert := r.vmFault(t, "VM1", fault.KindAlert, "")
	alert.Source = "alert/1"
	r.report(t, alert)
	r.incident(t, "VM1", knows(1))
	r.report(t, hung) // said again
	r.over(t, alert)
	r.over(t, hung)
	save(t, r.c, r.incident(t, "VM1", rig.ClosedAs(contract.OutcomeCleared)).ID, "watched-until-over")
	r.annotate(t, "VM1")
	saveSoFar(t, r.c, contract.GuardianID(rig.Site, hung.VM.UUID), "watched-and-annotated")

	hung = r.vmFault(t, "VM2", fault.KindCPU, "")
	r.report(t, hung)
	r.incident(t, "VM2", inStage(contract.StageWatch))
	died := r.vmFault(t, "VM2", fault.KindCrashed, "")
	require.NoError(t, r.cluster.KillVM("VM2"))
	r.report(t, died)
	save(t, r.c, r.incident(t, "VM2", rig.ClosedAs(contract.OutcomeRecovered)).ID, "watched-until-it-died")
}

func (r watchRig) annotate(t *testing.T, vm string) {
	v, _ := r.cluster.VM(vm)
	_, err := r.s.Annotate(t.Context(), contract.AnnotateRequest{Site: rig.Site, By: "recorder", AnnotateInput: contract.AnnotateInput{
		VM: fault.VM{UUID: v.UUID, Name: v.Name}, Changes: []string{"tier=db"},
	}})
	require.NoError(t, err)
}

// observedVMs crash in observe mode: one is repaired as a person asks for it, one
// is no longer any trouble, as whoever raised it says.
func (r watchRig) observedVMs(t *testing.T) {
	died := r.vmFault(t, "VM3", fault.KindCrashed, "observe")
	require.NoError(t, r.cluster.KillVM("VM3"))
	r.report(t, died)
	inc := r.incident(t, "VM3", inStage(contract.StageObserve))
	reply, err := r.s.Recover(t.Context(), contract.RecoverRequest{Site: rig.Site, VM: inc.VM, By: "recorder"})
	require.NoError(t, err)
	require.True(t, reply.Retrying)
	save(t, r.c, r.incident(t, "VM3", rig.ClosedAs(contract.OutcomeRecovered)).ID, "observed-and-asked-for")

	died = r.vmFault(t, "VM4", fault.KindCrashed, "observe")
	require.NoError(t, r.cluster.KillVM("VM4"))
	r.report(t, died)
	r.incident(t, "VM4", inStage(contract.StageObserve))
	r.over(t, died)
	save(t, r.c, r.incident(t, "VM4", rig.ClosedAs(contract.OutcomeCleared)).ID, "observed-until-over")
}

// hosts have faults of which one takes another's place, and a pool one that a
// person does not want to hear of.
func (r watchRig) hosts(t *testing.T) {
	now := time.Now().UTC()
	hangs := fault.Fault{ID: "1", Kind: fault.KindLibvirtdHung, Site: rig.Site, Host: "A", First: now, Reporter: "recorder", Why: "libvirtd on A hangs"}
	off := hangs
	off.ID, off.Kind, off.Why, off.Frozen = "2", fault.KindHostOff, "A is off", "too many hosts failed"
	r.report(t, hangs)
	r.incident(t, "A", inStage(contract.StageWatch))
	r.over(t, hangs)
	r.report(t, off)
	r.incident(t, "A", knows(1))
	r.report(t, off)
	r.over(t, off)
	save(t, r.c, r.incident(t, "A", rig.ClosedAs(contract.OutcomeCleared)).ID, "place-taken")
	saveSoFar(t, r.c, contract.HostRecordID(rig.Site, "A"), "one-incident")

	pool := hangs
	pool.ID, pool.Kind, pool.Pool, pool.Why = "3", fault.KindPoolLost, "images", "the pool images is gone"
	r.report(t, pool)
	id := r.incident(t, "images", inStage(contract.StageWatch)).ID
	require.NoError(t, r.c.CancelWorkflow(t.Context(), id, ""))
	save(t, r.c, id, "cancelled")
	r.report(t, pool)
	saveSoFar(t, r.c, contract.SiteRecordID(rig.Site), "dismissed")
}

func (r watchRig) questions(t *testing.T) {
	in := contract.FaultsInput{Site: rig.Site}
	_, err := r.s.Faults(t.Context(), in)
	require.NoError(t, err)
	save(t, r.c, contract.FaultsID(in), "answered")
	_, err = r.s.Explain(t.Context(), contract.ExplainInput{Site: rig.Site, Name: "Z"})
	require.Error(t, err)
	save(t, r.c, contract.ExplainID(rig.Site, "Z"), "no-such-thing")
	_, err = r.s.Probe(t.Context(), rig.Site, "A")
	require.NoError(t, err)
	save(t, r.c, contract.ProbeID(rig.Site, "A"), "answered")
}
