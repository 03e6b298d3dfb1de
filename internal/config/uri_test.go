package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestURIsThatLibvirtTakes(t *testing.T) {
	for _, uri := range []string{
		"qemu:///system", "qemu:/system", "qemu:///session", "qemu:///embed?root=/srv/embed",
		"qemu://kvm1/system", "qemu+tcp://198.18.1.11/system", "qemu+tcp://[fe80::1]:16509/system",
		"qemu+tls://kvm1.example.net:16514/system?pkipath=/etc/pki/lab",
		"qemu+ssh://root@kvm1/system?no_tty=1", "qemu+libssh://kvm1/system", "qemu+libssh2://kvm1:2222/system",
		"qemu+unix:///system?socket=/run/lab/a.sock", "qemu+ext:///system?command=/usr/bin/tunnel",
		"qemu+tls://kvm1/system?authfile=/etc/holdfast/auth.conf",
		"test:///default", "test:///srv/test.xml", "test+tcp://kvm1/default",
	} {
		message, hint := checkURI(uri)
		assert.Empty(t, message+hint, uri)
	}
}

func TestURIsThatLibvirtDoesNotTake(t *testing.T) {
	for uri, want := range map[string]string{
		"":                          "is not a URI",
		"kvm1":                      "is not a URI",
		"qemu:system":               "is not a URI",
		"qemu+tcp://kvm1:x/system":  "is not a URI",
		"xen:///system":             `unknown driver "xen"; known: qemu, test`,
		"qmeu:///system":            `unknown driver "qmeu"; did you mean "qemu"?`,
		"qemu+://kvm1/system":       `unknown transport ""; known: unix`,
		"qemu+shs://kvm1/system":    `unknown transport "shs"; did you mean "ssh"?`,
		"qemu+ssh:///system":        "names no host; the transport ssh needs one: qemu+ssh://HOST/system",
		"qemu+tls://:16514/system":  "names no host",
		"qemu+unix://kvm1/system":   "names a host, and the transport unix stays on this machine",
		"qemu+tcp://kvm1:0/system":  `has the port "0"; allowed: 1 to 65535`,
		"qemu+tcp://k:70000/system": `has the port "70000"; allowed: 1 to 65535`,
		"qemu+tcp://kvm1":           `has the path ""; for qemu it is /system`,
		"qemu+tcp://kvm1/sytem":     `has the path "/sytem"; for qemu it is /system`,
		"test:///":                  "has no path; write test:///default",
		"qemu:///system#a":          `has a fragment, "#a"`,
	} {
		message, hint := checkURI(uri)
		assert.Contains(t, message+"; "+hint, want, uri)
	}
}

// Wherever a password stands, and however broken the text around it, no error shows it.
func TestPasswordsAreRefusedAndNeverShown(t *testing.T) {
	const secret = "hunter2"
	for _, uri := range []string{
		"qemu+ssh://root:hunter2@kvm1/system", "qemu+ssh://:hunter2@kvm1/system", "qemu+ssh://root:hunter2@/system",
		"qemu+ssh://root%3Ahunter2@kvm1/system", "qemu+ssh://root:x/hunter2@kvm1/system", "qemu+ssh://root:%zzhunter2@kvm1/system",
		"qemu+ssh://root:a@hunter2@kvm1/system", "qemu+ssh:root:hunter2@kvm1/system", "root:hunter2@kvm1", "root:hunter2://@kvm1",
		"xen+tpc://root:hunter2@kvm1/system", "qemu+ssh://root:hunter2?@kvm1/system", "qemu+ssh://root:hunter2#@kvm1/system",
	} {
		for _, file := range []string{
			"hosts: [{name: A, uri: '" + uri + "'}]", // where it belongs
			"hosts: [{name: '" + uri + "', uri: 'qemu:///system'}]",
			"hosts: ['" + uri + "']",
			"'" + uri + "': A",
			"listen: {worker: '" + uri + "'}",
			"monitor: {sweep: '" + uri + "'}",
		} {
			_, err := Parse("site.yaml", []byte(file))
			require.Error(t, err, file)
			assert.NotContains(t, err.Error(), secret, file)
		}
	}
	message, hint := checkURI("qemu+ssh://root:hunter2@kvm1/system")
	assert.Equal(t, `"qemu+ssh://root:xxxxx@kvm1/system" holds a password, and a site file is no place for one`, message)
	assert.True(t, strings.Contains(hint, "auth file"), hint)
}

func TestDaemonOfTellsHostsApart(t *testing.T) {
	same := [][]string{
		{"qemu:///system", "qemu+unix:///system", "QEMU:/system"},
		{"qemu://kvm1/system", "qemu+tls://KVM1:16514/system?no_verify=1"},
		{"qemu+ssh://root@kvm1/system", "qemu+ssh://other@kvm1:22/system?no_tty=1"},
		{"qemu:///session"},
		{"qemu+ssh://kvm1:2222/system"},
		{"qemu+unix:///system?socket=/run/a"},
		{"qemu+unix:///system?socket=/run/b"},
		{"test:///default"},
	}
	for i, group := range same {
		for _, a := range group {
			for j, other := range same {
				for _, b := range other {
					assert.Equal(t, i == j, daemonOf(a) == daemonOf(b), "%s and %s", a, b)
				}
			}
		}
	}
}
