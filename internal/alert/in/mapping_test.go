package in

import (
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/fault"
)

func TestMapping(t *testing.T) {
	type labels = map[string]string
	for name, c := range map[string]struct {
		labels  labels
		want    Alert
		ignored string
	}{
		"kind by rule": {
			labels: labels{"alertname": "GuestDown", "vm": "web1"},
			want:   Alert{Kind: fault.KindHung, VM: "web1"},
		},
		"kind by its label": {
			labels: labels{"alertname": "X", "vm": "web1", "holdfast_kind": "crashed"},
			want:   Alert{Kind: fault.KindCrashed, VM: "web1"},
		},
		"a rule goes before the label": {
			labels: labels{"alertname": "GuestDown", "vm": "web1", "holdfast_kind": "crashed"},
			want:   Alert{Kind: fault.KindHung, VM: "web1"},
		},
		"a kind that is none": {
			labels: labels{"alertname": "X", "vm": "web1", "holdfast_kind": "nonsense"},
			want:   Alert{Kind: fault.KindAlert, VM: "web1"},
		},
		"no kind": {
			labels: labels{"vm": "web1"},
			want:   Alert{Kind: fault.KindAlert, VM: "web1"},
		},
		"the first label that is there": {
			labels: labels{"domain": "web1", "instance": "kvm1:9177", "host": "kvm1:22"},
			want:   Alert{Kind: fault.KindAlert, VM: "web1", Host: "kvm1"},
		},
		"where it was scraped is not where the VM is": {
			labels: labels{"domain": "web1", "instance": "kvm1:9177"},
			want:   Alert{Kind: fault.KindAlert, VM: "web1"},
		},
		"instance without its port is a VM, and then no host": {
			labels: labels{"instance": "web1:9100"},
			want:   Alert{Kind: fault.KindAlert, VM: "web1"},
		},
		"another label is a name as it is": {
			labels: labels{"vm": "web:1"},
			want:   Alert{Kind: fault.KindAlert, VM: "web:1"},
		},
		"a host": {
			labels: labels{"alertname": "NodeDown", "instance": "[fd00::1]:9100"},
			want:   Alert{Kind: fault.KindHostUnreachable, Host: "fd00::1"},
		},
		"a host, whatever VM is named": {
			labels: labels{"alertname": "NodeDown", "vm": "web1", "node": "kvm1"},
			want:   Alert{Kind: fault.KindHostUnreachable, Host: "kvm1"},
		},
		"a host without a kind": {
			labels:  labels{"alertname": "X", "node": "kvm1"},
			ignored: "it names a host but no kind of fault: add it to alerts.in.kinds, or give it the label holdfast_kind",
		},
		"nothing": {
			labels:  labels{"alertname": "X"},
			ignored: "it names no VM, by one of the labels vm, domain, instance, and no host, by one of host, node, instance",
		},
		"a VM's kind without a VM": {
			labels:  labels{"alertname": "GuestDown", "host": "kvm1"},
			ignored: `kind "hung" is about a VM, and the alert has none of the labels vm, domain, instance`,
		},
		"a host's kind without a host": {
			labels:  labels{"alertname": "NodeDown", "vm": "web1"},
			ignored: `kind "host-unreachable" is about a host, and the alert has none of the labels host, node, instance`,
		},
		"a port is no host": {
			labels:  labels{"alertname": "NodeDown", "instance": ":9100"},
			ignored: `kind "host-unreachable" is about a host, and the alert has none of the labels host, node, instance`,
		},
		"a pool's kind": {
			labels:  labels{"vm": "web1", "holdfast_kind": "pool-full"},
			ignored: `kind "pool-full" is about a pool: an alert can be about a VM or a host`,
		},
		"a person's": {
			labels:  labels{"vm": "web1", "holdfast_kind": "requested"},
			ignored: `kind "requested" is for a person's requests`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got Alert
			err := mapped().locate(&got, c.labels)
			if c.ignored != "" {
				require.Equal(t, Ignore(c.ignored), err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

// Every kind of a VM or a host can be asked for, and no other.
func TestEveryKindByItsLabel(t *testing.T) {
	for _, k := range fault.Kinds() {
		var a Alert
		err := DefaultMapping().locate(&a, map[string]string{"vm": "web1", "host": "kvm1", KindLabel: string(k)})
		switch k.Subject() {
		case fault.SubjectVM, fault.SubjectHost:
			if k == fault.KindRequested {
				require.Error(t, err)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, k, a.Kind)
			require.Equal(t, k.Subject() == fault.SubjectVM, a.VM != "")
		default:
			require.Error(t, err)
		}
	}
}

func TestMappingIsValidated(t *testing.T) {
	require.NoError(t, DefaultMapping().Validate())
	require.NoError(t, mapped().Validate())
	some := map[string]string{"a": "b"}
	for want, m := range map[string]Mapping{
		"alerts.in: neither vm nor host has a label, so that no alert would be about anything":             {},
		"alerts.in: a label in vm or host has no name":                                                     {VM: []string{""}},
		"alerts.in.kinds[0]: match is empty, which fits every alert: name at least one label":              {VM: []string{"vm"}, Kinds: []KindRule{{Kind: fault.KindHung}}},
		"alerts.in.kinds[0]: match has a label without a name or a value, and would fit alerts without it": {VM: []string{"vm"}, Kinds: []KindRule{{map[string]string{"a": ""}, fault.KindHung}}},
		`alerts.in.kinds[1]: kind "x" is not known`:                                                        {VM: []string{"vm"}, Kinds: []KindRule{{some, fault.KindHung}, {some, "x"}}},
		`alerts.in.kinds[0]: kind "storm" is about a site: an alert can be about a VM or a host`:           {VM: []string{"vm"}, Kinds: []KindRule{{some, fault.KindStorm}}},
		`alerts.in.kinds[0]: kind "requested" is for a person's requests`:                                  {VM: []string{"vm"}, Kinds: []KindRule{{some, fault.KindRequested}}},
	} {
		require.EqualError(t, m.Validate(), want)
	}
}
