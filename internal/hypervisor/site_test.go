package hypervisor_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/simulated"
)

func TestSiteKeepsOrderAndFindsByName(t *testing.T) {
	c := simulated.New(simulated.Options{Hosts: 3})
	site, err := hypervisor.NewSite(c.Host("C"), c.Host("A"), c.Host("B"))
	require.NoError(t, err)
	var names []string
	for _, h := range site.Hosts() {
		names = append(names, h.Name())
	}
	require.Equal(t, []string{"C", "A", "B"}, names)
	h, ok := site.Host("A")
	require.True(t, ok)
	require.Equal(t, "A", h.Name())
	_, ok = site.Host("Z")
	require.False(t, ok)

	site.Hosts()[0] = nil
	require.NotNil(t, site.Hosts()[0], "a caller cannot change the site")
	require.NoError(t, site.Close())
	require.ErrorIs(t, h.Connect(t.Context()), hypervisor.ErrClosed)
}

func TestSiteRefusesWhatItCannotName(t *testing.T) {
	c := simulated.New(simulated.Options{Hosts: 1})
	_, err := hypervisor.NewSite(c.Host("A"), c.Host("A"))
	require.ErrorContains(t, err, `"A"`)
	_, err = hypervisor.NewSite(nil)
	require.Error(t, err)
	var none *hypervisor.Site
	require.Empty(t, none.Hosts())
}
