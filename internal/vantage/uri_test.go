package vantage

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"holdfast/internal/config"
)

func TestFromURI(t *testing.T) {
	for uri, want := range map[string]Address{
		"qemu+tls://kvm1.example.net/system":             {"kvm1.example.net:16514", true},
		"qemu://kvm1.example.net/system":                 {"kvm1.example.net:16514", true},
		"qemu+tcp://10.0.0.1/system":                     {"10.0.0.1:16509", true},
		"qemu+tcp://10.0.0.1:17000/system":               {"10.0.0.1:17000", true},
		"qemu+tcp://[fd00::1]/system?keepalive_count=3":  {"[fd00::1]:16509", true},
		"qemu+ssh://root@kvm1/system":                    {"kvm1:22", false},
		"qemu+ssh://root@kvm1:2222/system":               {"kvm1:2222", false},
		"qemu+libssh://kvm1/system":                      {"kvm1:22", false},
		"qemu+libssh2://kvm1/system?known_hosts=/x":      {"kvm1:22", false},
		"test+tcp://kvm1/default":                        {"kvm1:16509", true},
		"qemu+tls://kvm1.example.net/system?no_verify=1": {"kvm1.example.net:16514", true},
	} {
		got, ok := FromURI(uri)
		assert.True(t, ok, uri)
		assert.Equal(t, want, got, uri)
	}
	for _, uri := range []string{
		"qemu:///system", "qemu+unix:///system?socket=/run/x", "qemu+ext://kvm1/system?command=nc", "test:///default", "", "%", "qemu+carrier-pigeon://kvm1/system",
	} {
		_, ok := FromURI(uri)
		assert.False(t, ok, uri)
	}
}

// The reader of site files knows the default ports as well: it refuses two hosts
// at one libvirtd. Here it says whether it knows the same ones.
func TestPortsAreThoseOfTheSiteFile(t *testing.T) {
	for transport, addr := range remotePorts {
		site := fmt.Sprintf("hosts:\n- {name: a, uri: \"qemu+%[1]s://kvm1/system\"}\n- {name: b, uri: \"qemu+%[1]s://kvm1:%[2]s/system\"}\n", transport, addr.HostPort)
		_, err := config.Parse("site.yaml", []byte(site))
		require.ErrorContains(t, err, "is the same as", transport)
	}
}
