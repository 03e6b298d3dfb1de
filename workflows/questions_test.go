package workflows_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/workflows"
)

func TestQuestionsWithoutAMonitor(t *testing.T) {
	nobody := temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)
	ask := func(prepare func(site), workflow any, in any) error {
		s := newSite(t)
		prepare(s)
		s.ExecuteWorkflow(workflow, in)
		return s.GetWorkflowError()
	}
	says := "no monitor of site s answers: start `holdfast monitor`"
	require.ErrorContains(t, ask(func(s site) {
		s.OnActivity(s.asks.Faults, mock.Anything, mock.Anything).Return(contract.FaultsResult{}, nobody)
	}, workflows.Faults, contract.FaultsInput{Site: "s"}), says)
	require.ErrorContains(t, ask(func(s site) {
		s.OnActivity(s.asks.Explain, mock.Anything, mock.Anything).Return(contract.ExplainResult{}, nobody)
	}, workflows.Explain, contract.ExplainInput{Site: "s", Name: "A"}), says)
}

func TestProbe(t *testing.T) {
	s := newSite(t)
	vote := fault.Vote{From: "worker", Says: fault.HostSilent, At: began}
	s.OnActivity(s.act.Probe, mock.Anything, contract.ProbeInput{Host: "A"}).Return(contract.ProbeResult{Vote: vote}, nil)
	s.ExecuteWorkflow(workflows.Probe, "s", contract.ProbeInput{Host: "A"})
	require.NoError(t, s.GetWorkflowError())
	var out contract.ProbeResult
	require.NoError(t, s.GetWorkflowResult(&out))
	require.Equal(t, vote, out.Vote)
}

func TestGuardianAnnotates(t *testing.T) {
	s := newSite(t)
	in := contract.AnnotateInput{VM: vm1, Changes: []string{"tier=db", "old-"}}
	done := contract.AnnotateReply{VM: vm1, Hosts: []contract.AnnotatedHost{{Host: "A", After: "<holdfast:vm/>", Changed: true}}}
	s.OnActivity(s.act.Annotate, mock.Anything, in).Return(done, nil).Once()
	s.OnActivity(s.act.Annotate, mock.Anything, mock.Anything).Return(contract.AnnotateReply{},
		temporal.NewNonRetryableApplicationError("no host of site s has VM1 defined", contract.ErrTypeNotFound, nil)).Once()
	var reply contract.AnnotateReply
	var refused []string
	send := func(after time.Duration, req contract.AnnotateRequest) {
		ask := &testsuite.TestUpdateCallback{
			OnAccept: func() {},
			OnReject: func(err error) { refused = append(refused, err.Error()) },
			OnComplete: func(v any, err error) {
				var app *temporal.ApplicationError
				if errors.As(err, &app) {
					refused = append(refused, app.Message())
					return
				}
				require.NoError(t, err)
				reply = v.(contract.AnnotateReply)
			},
		}
		s.RegisterDelayedCallback(func() { s.UpdateWorkflow(contract.UpdateAnnotate, after.String(), ask, req) }, after)
	}
	good := contract.AnnotateRequest{Site: "s", By: "ann", AnnotateInput: in}
	send(time.Second, good)
	read := good
	read.Changes = nil
	send(2*time.Second, read)
	for i, change := range []func(*contract.AnnotateRequest){
		func(r *contract.AnnotateRequest) { r.By = "" },
		func(r *contract.AnnotateRequest) { r.Site = "other" },
		func(r *contract.AnnotateRequest) { r.Changes = []string{"tier"} },
		func(r *contract.AnnotateRequest) { r.Changes = []string{"=db"} },
		func(r *contract.AnnotateRequest) { r.Changes = []string{"-"} },
	} {
		bad := good
		change(&bad)
		send(time.Duration(10+i)*time.Second, bad)
	}
	s.guard()
	require.NoError(t, s.GetWorkflowError())
	require.Equal(t, done, reply)
	require.Len(t, refused, 6)
	require.Equal(t, "no host of site s has VM1 defined", refused[0])
	require.Equal(t, "by is empty: say who asks", refused[1])
	require.Contains(t, refused[3], `change "tier": write key=value to set and key- to remove`)
}
