package activities_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"holdfast/activities"
	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
	"holdfast/internal/ladder"
)

// mover is VM1 on A of a site of three hosts, and what is done with it.
type mover struct {
	t  *testing.T
	c  *simulated.Cluster
	a  *activities.Activities
	vm fault.VM
}

func toMove(t *testing.T) mover {
	c := simulated.New(simulated.Options{Site: site, Hosts: 3, VMsPerHost: 1})
	sim, _ := c.VM("VM1")
	return mover{t, c, of(t, c, nil), fault.VM{UUID: sim.UUID, Name: "VM1"}}
}

func (m mover) places() ladder.Places {
	m.t.Helper()
	out, err := m.a.Places(m.t.Context(), contract.PlacesInput{VM: m.vm, Host: "A"})
	require.NoError(m.t, err)
	return out
}

func (m mover) stopped() mover {
	m.t.Helper()
	require.NoError(m.t, m.c.Host("A").Destroy(m.t.Context(), m.vm.UUID))
	return m
}

// definedOn are the hosts that know the VM.
func (m mover) definedOn() (names []string) {
	m.t.Helper()
	for _, h := range m.c.Hosts() {
		if _, err := h.Domain(m.t.Context(), m.vm.UUID); err == nil {
			names = append(names, h.Name())
		} else {
			require.ErrorIs(m.t, err, hypervisor.ErrNotFound)
		}
	}
	return names
}

// unmarked checks that nothing is left in anybody's storage.
func (m mover) unmarked() {
	m.t.Helper()
	left, err := m.c.Marks("A")
	require.NoError(m.t, err)
	require.Empty(m.t, left)
}

func (m mover) rehome(in contract.RehomeInput) (contract.RehomeResult, error) {
	in.VM = m.vm
	return m.a.Rehome(m.t.Context(), in)
}

func (m mover) mayRehome(in contract.RehomeInput) error {
	in.VM = m.vm
	return m.a.MayRehome(m.t.Context(), in)
}

var toB = contract.RehomeInput{From: "A", To: "B", Autostart: true}

func TestPlaces(t *testing.T) {
	m := toMove(t)
	require.NoError(t, m.c.Host("A").SetAutostart(t.Context(), m.vm.UUID, true))
	found := m.places()
	require.Equal(t, "B", found.Best)
	require.Contains(t, found.Why, "of its memory stay free")
	require.True(t, found.Autostart)

	require.NoError(t, m.c.OwnStorage("B", true))
	found = m.places()
	require.Equal(t, "C", found.Best)
	require.Len(t, found.Others, 1)
	require.Contains(t, found.Others[0].Why, "is not the same storage")

	require.NoError(t, m.c.CutHost("C"))
	found = m.places()
	require.Empty(t, found.Best)
	require.Contains(t, found.Why, "C: it does not answer")
	require.Contains(t, found.Why, "B: its /var/lib/libvirt/images is not the same storage")

	require.NoError(t, m.c.OwnStorage("B", false))
	out, err := m.a.Places(t.Context(), contract.PlacesInput{VM: m.vm, Host: "A", Not: map[string]string{"B": "it has failed there: no boot"}})
	require.NoError(t, err)
	require.Contains(t, out.Why, "B: it has failed there: no boot")
}

// What is found out about the storage leaves nothing behind in it.
func TestPlacesLeavesNoMark(t *testing.T) {
	m := toMove(t)
	m.places()
	m.unmarked()
}

func TestPlacesOfAVMThatCannotLeave(t *testing.T) {
	m := toMove(t)
	_, err := m.c.Host("A").CreateSnapshot(t.Context(), m.vm.UUID, hypervisor.SnapshotOptions{Name: "nightly", Memory: true})
	require.NoError(t, err)
	found := m.places()
	require.Empty(t, found.Best)
	require.Contains(t, found.Why, "no other host can have it: snapshot \"nightly\"")

	require.NoError(t, m.c.LosePool("A"))
	require.Contains(t, m.places().Why, "what it needs of a host cannot be found out")

	one := simulated.New(simulated.Options{Site: site, Hosts: 1, VMsPerHost: 1})
	alone := mover{t, one, of(t, one, nil), m.vm}
	require.Equal(t, "the site has no other host", alone.places().Why)

	_, err = m.a.Places(t.Context(), contract.PlacesInput{VM: m.vm, Host: "B"})
	refusedAs(t, err, contract.ErrTypeNotFound, "host B has no domain VM1")
	require.NoError(t, m.c.CutHost("A"))
	_, err = m.a.Places(t.Context(), contract.PlacesInput{VM: m.vm, Host: "A"})
	refusedAs(t, err, contract.ErrTypeUnreachable, "host A")
}

func TestRehome(t *testing.T) {
	m := toMove(t).stopped()
	require.NoError(t, m.mayRehome(toB))
	require.Equal(t, []string{"A"}, m.definedOn(), "nothing was changed yet")
	out, err := m.rehome(toB)
	require.NoError(t, err)
	require.False(t, out.Already)
	require.Equal(t, []string{"B"}, m.definedOn())
	on, err := m.c.Host("B").Autostart(t.Context(), m.vm.UUID)
	require.NoError(t, err)
	require.True(t, on)
	m.unmarked()

	out, err = m.rehome(toB) // as after a worker that died
	require.NoError(t, err)
	require.True(t, out.Already)

	require.NoError(t, m.c.Host("B").Start(t.Context(), m.vm.UUID))
	out, err = m.rehome(toB) // nor does it matter that it was started since
	require.NoError(t, err)
	require.True(t, out.Already)
	require.Equal(t, []string{"B"}, m.definedOn())
	require.Empty(t, m.c.TwoCopies())
}

// Brought back it is where it was, however far it had come.
func TestRehomeBack(t *testing.T) {
	back := contract.RehomeInput{From: "B", To: "A", Back: true}
	m := toMove(t).stopped()
	out, err := m.rehome(back)
	require.NoError(t, err)
	require.True(t, out.Already, "it never left")
	require.Equal(t, []string{"A"}, m.definedOn())

	definition, err := m.c.Host("A").Definition(t.Context(), m.vm.UUID)
	require.NoError(t, err)
	require.NoError(t, m.c.Host("B").Define(t.Context(), definition))
	_, err = m.rehome(back)
	require.NoError(t, err)
	require.Equal(t, []string{"A"}, m.definedOn(), "a worker had died after it was defined there")

	_, err = m.rehome(toB)
	require.NoError(t, err)
	_, err = m.rehome(back)
	require.NoError(t, err)
	require.Equal(t, []string{"A"}, m.definedOn())
	on, err := m.c.Host("A").Autostart(t.Context(), m.vm.UUID)
	require.NoError(t, err)
	require.False(t, on)

	_, err = m.rehome(toB)
	require.NoError(t, err)
	require.NoError(t, m.c.Host("B").Start(t.Context(), m.vm.UUID))
	out, err = m.rehome(back)
	require.NoError(t, err)
	require.True(t, out.Stays, "what runs there stays there")
	require.Equal(t, []string{"B"}, m.definedOn())
}

func TestRehomeRefused(t *testing.T) {
	for name, c := range map[string]struct {
		breaks func(mover) error
		kind   string
		text   string
	}{
		"it runs": {func(m mover) error { return m.c.Host("A").Start(t.Context(), m.vm.UUID) }, contract.ErrTypeStepFailed, "is in the way on A"},
		"B has it": {func(m mover) error {
			definition, err := m.c.Host("A").Definition(t.Context(), m.vm.UUID)
			if err != nil {
				return err
			}
			return m.c.Host("B").Define(t.Context(), definition)
		}, contract.ErrTypeStepFailed, "B knows VM1 from earlier"},
		"B has other storage": {func(m mover) error { return m.c.OwnStorage("B", true) }, contract.ErrTypeStepFailed, "is not the same storage"},
		"B is silent":         {func(m mover) error { return m.c.CutHost("B") }, contract.ErrTypeUnreachable, "host B"},
		"A is silent":         {func(m mover) error { return m.c.CutHost("A") }, contract.ErrTypeUnreachable, "host A"},
		"C may run it":        {func(m mover) error { return m.c.CutHost("C") }, contract.ErrTypeTwoCopies, "C may be running it"},
		"it has a snapshot": {func(m mover) error {
			_, err := m.c.Host("A").CreateSnapshot(t.Context(), m.vm.UUID, hypervisor.SnapshotOptions{Name: "nightly"})
			return err
		}, contract.ErrTypeStepFailed, "it cannot leave A"},
	} {
		t.Run(name, func(t *testing.T) {
			m := toMove(t).stopped()
			require.NoError(t, c.breaks(m))
			refusedAs(t, m.mayRehome(toB), c.kind, c.text)
			for _, host := range []string{"A", "B", "C"} {
				require.NoError(t, m.c.HealHost(host))
			}
			require.Contains(t, m.definedOn(), "A", "nothing was taken away")
			m.unmarked()
		})
	}
}

// Whoever goes on after a worker died takes what that has defined for ours; what
// differs, and nobody has noted, is somebody else's.
func TestRehomeAfterADeath(t *testing.T) {
	for name, c := range map[string]struct {
		noted  string
		change bool
	}{
		"as it was": {}, "changed since": {noted: "rehoming", change: true}, "about to leave": {noted: "leaving", change: true}, "a stranger's": {change: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := toMove(t).stopped()
			definition, err := m.c.Host("A").Definition(t.Context(), m.vm.UUID)
			require.NoError(t, err)
			require.NoError(t, m.c.Host("B").Define(t.Context(), definition))
			if c.change {
				require.NoError(t, m.c.Host("A").Annotate(t.Context(), m.vm.UUID, `<holdfast:vm xmlns:holdfast="urn:a-test"/>`))
			}
			var suite testsuite.WorkflowTestSuite
			env := suite.NewTestActivityEnvironment()
			env.RegisterActivity(m.a)
			if c.noted != "" {
				env.SetHeartbeatDetails(c.noted)
			}
			in := toB
			in.VM = m.vm
			value, err := env.ExecuteActivity(m.a.Rehome, in)
			if c.noted == "rehoming" {
				refusedAs(t, err, contract.ErrTypeUnreachable, "was changed meanwhile")
				require.Equal(t, []string{"A"}, m.definedOn(), "the next try takes it along as it is")
				return
			}
			require.NoError(t, err)
			var out contract.RehomeResult
			require.NoError(t, value.Get(&out))
			if c.change && c.noted == "" {
				require.Contains(t, out.Theirs, "somebody has defined VM1 on B meanwhile")
				require.Equal(t, []string{"A", "B"}, m.definedOn())
				return
			}
			require.Equal(t, []string{"B"}, m.definedOn())
		})
	}
}

// What runs is not taken away, and what runs twice is for a person.
func TestRehomeOfWhatRuns(t *testing.T) {
	m := toMove(t)
	_, err := m.rehome(toB)
	refusedAs(t, err, contract.ErrTypeStepFailed, "is in the way on A")
	require.Equal(t, []string{"A"}, m.definedOn())

	m = toMove(t).stopped()
	definition, err := m.c.Host("A").Definition(t.Context(), m.vm.UUID)
	require.NoError(t, err)
	require.NoError(t, m.c.Host("B").Define(t.Context(), definition))
	require.NoError(t, m.c.Host("B").Start(t.Context(), m.vm.UUID))
	back := contract.RehomeInput{From: "B", To: "A", Back: true}
	out, err := m.rehome(back)
	require.NoError(t, err)
	require.True(t, out.Stays)
	require.Equal(t, []string{"B"}, m.definedOn(), "a start that came late, upon a move that was half undone")
}

func TestRehomeOfWhatIsGone(t *testing.T) {
	m := toMove(t).stopped()
	require.NoError(t, m.c.Host("A").Undefine(t.Context(), m.vm.UUID))
	_, err := m.rehome(toB)
	refusedAs(t, err, contract.ErrTypeNotFound, "neither host A nor B")
	out, err := m.rehome(contract.RehomeInput{From: "B", To: "A", Back: true})
	require.NoError(t, err)
	require.True(t, out.Gone)
}
