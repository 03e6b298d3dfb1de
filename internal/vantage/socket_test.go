package vantage

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/fault"
)

func TestSocketOfThisMachine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	p := Socket([]string{path})
	require.Equal(t, fault.HostRefuses, p.Look(t.Context()).Says, "there is none")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	require.Equal(t, fault.HostAccepts, p.Look(t.Context()).Says)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	require.Equal(t, fault.HostRefuses, p.Look(t.Context()).Says, "nobody listens any more")
}

func TestSocketsFromURI(t *testing.T) {
	for uri, want := range map[string][]string{
		"qemu:///system":                    sockets,
		"qemu+unix:///system?socket=/run/x": {"/run/x"},
		"qemu+tls://kvm1/system":            nil,
		"qemu+ssh:///system":                nil,
		"":                                  nil,
	} {
		got, ok := SocketsFromURI(uri)
		require.Equal(t, want, got, uri)
		require.Equal(t, want != nil, ok, uri)
	}
}
