package activities_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor/simulated"
)

func TestAnnotate(t *testing.T) {
	c := simulated.New(simulated.Options{Site: site, Hosts: 3, VMsPerHost: 1})
	require.NoError(t, c.DefineVM("VM1", "B"))
	sim, _ := c.VM("VM1")
	vm := fault.VM{UUID: sim.UUID, Name: "VM1"}
	a := of(t, c, nil)
	annotate := func(dry bool, changes ...string) contract.AnnotateReply {
		t.Helper()
		out, err := a.Annotate(t.Context(), contract.AnnotateInput{VM: vm, Changes: changes, DryRun: dry})
		require.NoError(t, err)
		return out
	}
	const db = `<holdfast:vm xmlns:holdfast="https://holdfast.dev/xmlns/domain/1"><holdfast:label name="tier" value="db"/></holdfast:vm>`

	require.Equal(t, []contract.AnnotatedHost{{Host: "A"}, {Host: "B"}}, annotate(false).Hosts, "those that have it defined")
	dry := annotate(true, "tier=db")
	require.True(t, dry.DryRun)
	require.Equal(t, contract.AnnotatedHost{Host: "A", After: db, Changed: true}, dry.Hosts[0])
	require.Equal(t, []contract.AnnotatedHost{{Host: "A"}, {Host: "B"}}, annotate(false).Hosts, "nothing was written")

	done := annotate(false, "tier=db")
	require.Equal(t, []contract.AnnotatedHost{{Host: "A", After: db, Changed: true}, {Host: "B", After: db, Changed: true}}, done.Hosts)
	require.Equal(t, []contract.AnnotatedHost{{Host: "A", Before: db, After: db}, {Host: "B", Before: db, After: db}}, annotate(false, "tier=db").Hosts)

	_, err := a.Annotate(t.Context(), contract.AnnotateInput{VM: vm, Changes: []string{"mode=off", "tier=web", "cpu.raise=high"}})
	var app *temporal.ApplicationError
	require.ErrorAs(t, err, &app)
	require.Equal(t, contract.ErrTypeBadInput, app.Type())
	require.Contains(t, app.Message(), `"off" is not a mode`)
	require.Contains(t, app.Message(), `"high" is not a number`, "every mistake is said")
	require.Equal(t, db, annotate(false).Hosts[0].Before, "and nothing was written")

	require.NoError(t, c.CutHost("B"))
	cut := annotate(false, "tier-")
	require.Equal(t, contract.AnnotatedHost{Host: "A", Before: db, Changed: true}, cut.Hosts[0])
	require.NotEmpty(t, cut.Hosts[1].Error)

	_, err = a.Annotate(t.Context(), contract.AnnotateInput{VM: fault.VM{UUID: "99999999-9999-4999-8999-999999999999", Name: "VM9"}})
	require.ErrorContains(t, err, "no other host has VM9")
	require.NoError(t, c.HealHost("B"))
	_, err = a.Annotate(t.Context(), contract.AnnotateInput{VM: fault.VM{UUID: "99999999-9999-4999-8999-999999999999", Name: "VM9"}})
	require.ErrorContains(t, err, "no host of site s has VM9 defined")
}
