package activities_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/fault"
)

type watcher struct {
	faults []fault.Fault
	err    error
}

func (w watcher) Faults(context.Context) (contract.FaultsResult, error) {
	return contract.FaultsResult{Site: site, Monitor: "mon1", Hosts: []contract.WatchedHost{{Host: "A"}}, Faults: w.faults}, w.err
}

func (w watcher) Explain(_ context.Context, in contract.ExplainInput) (contract.ExplainResult, error) {
	return contract.ExplainResult{Site: site, Host: in.Name}, w.err
}

func vmFault(i int, kind fault.Kind, host string) fault.Fault {
	return fault.Fault{ID: fmt.Sprint(i), Kind: kind, Site: site, VM: fault.VM{UUID: fmt.Sprintf("u%d", i), Name: fmt.Sprintf("VM%d", i)}, Host: host}
}

func TestFaultsAreSelected(t *testing.T) {
	all := []fault.Fault{
		vmFault(1, fault.KindCrashed, "A"), vmFault(2, fault.KindDiskFull, "A"), vmFault(3, fault.KindCPU, "B"),
		{ID: "4", Kind: fault.KindHostOff, Site: site, Host: "B"},
	}
	q := activities.NewQuestions(watcher{faults: all})
	for name, c := range map[string]struct {
		in   contract.FaultsInput
		want string
	}{
		"all":        {contract.FaultsInput{}, "1 2 3 4"},
		"by kind":    {contract.FaultsInput{Kind: fault.KindCPU}, "3"},
		"by name":    {contract.FaultsInput{VM: "VM2"}, "2"},
		"by UUID":    {contract.FaultsInput{VM: "u2"}, "2"},
		"by host":    {contract.FaultsInput{Host: "B"}, "3 4"},
		"by level":   {contract.FaultsInput{Level: fault.Major}, "1 2 4"},
		"by slot":    {contract.FaultsInput{Slot: "host/B"}, "4"},
		"by several": {contract.FaultsInput{Host: "B", Level: fault.Critical}, "4"},
		"none":       {contract.FaultsInput{VM: "VM9"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := q.Faults(t.Context(), c.in)
			require.NoError(t, err)
			var ids []string
			for _, f := range out.Faults {
				ids = append(ids, f.ID)
			}
			require.Equal(t, c.want, strings.Join(ids, " "))
		})
	}
	require.Len(t, all, 4, "the monitor's own list is left alone")
	require.Equal(t, "2", all[1].ID)
}

// A whole site that is down makes an answer that Temporal still takes.
func TestAnAnswerFitsAPayload(t *testing.T) {
	at := time.Now()
	var all []fault.Fault
	for i := range 301 {
		f := vmFault(i, fault.KindLost, "A")
		f.Why = strings.Repeat("why ", 100)
		for h := range 1000 {
			f.Elsewhere = append(f.Elsewhere, fault.Sighting{Host: fmt.Sprintf("host%d.example.net", h), Absent: true, At: at})
		}
		all = append(all, f)
	}
	out, err := activities.NewQuestions(watcher{faults: all}).Faults(t.Context(), contract.FaultsInput{})
	require.NoError(t, err)
	require.Equal(t, len(all), len(out.Faults)+out.Left)
	require.NotZero(t, out.Left)
	require.Len(t, all[0].Elsewhere, 1000)
	text, err := json.Marshal(out)
	require.NoError(t, err)
	require.Less(t, len(text), 1<<20)
}

func TestQuestionsThatFailAreNotRepeated(t *testing.T) {
	q := activities.NewQuestions(watcher{err: errors.New("site s has no VM9")})
	_, err := q.Explain(t.Context(), contract.ExplainInput{Name: "VM9"})
	var app *temporal.ApplicationError
	require.ErrorAs(t, err, &app)
	require.True(t, app.NonRetryable())
	require.Equal(t, "site s has no VM9", app.Message())
	_, err = q.Faults(t.Context(), contract.FaultsInput{})
	require.ErrorAs(t, err, &app)
}
