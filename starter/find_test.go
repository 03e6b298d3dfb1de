package starter_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/starter"
)

const (
	idWeb  = "11111111-1111-4111-8111-111111111111"
	idWeb2 = "22222222-2222-4222-8222-222222222222"
	idMail = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
	idNone = "99999999-9999-4999-8999-999999999999"
)

func state(name, id, host string, active bool) contract.VMState {
	return contract.VMState{VM: fault.VM{UUID: id, Name: name}, Host: host, Active: active}
}

// inventory is a site of three hosts, one of which may not answer.
func inventory(silent bool) contract.InventoryResult {
	inv := contract.InventoryResult{
		Site: "lab",
		Hosts: []contract.HostState{
			{Name: "kvm1", Connected: true}, {Name: "kvm2", Connected: true}, {Name: "kvm3", Connected: !silent},
		},
		VMs: []contract.VMState{
			state("web", idWeb, "kvm1", true), state("web", idWeb, "kvm2", false),
			state("mail", idMail, "kvm2", false),
		},
	}
	if silent {
		inv.Hosts[2].Error = "no route to host"
	}
	return inv
}

func TestFindVM(t *testing.T) {
	twins := inventory(false)
	twins.VMs = append(twins.VMs, state("web", idWeb2, "kvm3", true))
	twice := inventory(false)
	twice.VMs[1].Active = true
	standby := inventory(false)
	standby.VMs[0].Active = false
	for _, c := range []struct {
		name string
		inv  contract.InventoryResult
		ref  string
		want starter.Found
		err  []string // what the error says; none: no error
	}{
		{name: "by name, where it is active", inv: inventory(false), ref: "web",
			want: starter.Found{VM: fault.VM{UUID: idWeb, Name: "web"}, Host: "kvm1"}},
		{name: "by UUID, with its name", inv: inventory(false), ref: idMail,
			want: starter.Found{VM: fault.VM{UUID: idMail, Name: "mail"}, Host: "kvm2"}},
		{name: "by UUID in capitals", inv: inventory(false), ref: "AAAAAAAA-AAAA-4AAA-8AAA-AAAAAAAAAAAA",
			want: starter.Found{VM: fault.VM{UUID: idMail, Name: "mail"}, Host: "kvm2"}},
		{name: "defined on two hosts and active on none", inv: standby, ref: "web",
			want: starter.Found{VM: fault.VM{UUID: idWeb, Name: "web"}}},
		{name: "active on two hosts", inv: twice, ref: "web",
			want: starter.Found{VM: fault.VM{UUID: idWeb, Name: "web"}}},
		{name: "found, although a host is silent", inv: inventory(true), ref: "mail",
			want: starter.Found{VM: fault.VM{UUID: idMail, Name: "mail"}, Host: "kvm2"}},
		{name: "a UUID that a silent host may know", inv: inventory(true), ref: idNone,
			want: starter.Found{VM: fault.VM{UUID: idNone}}},
		{name: "a UUID that no host knows", inv: inventory(false), ref: idNone, err: []string{"no host of site lab has a VM " + idNone}},
		{name: "a slip of the hand", inv: inventory(false), ref: "mial", err: []string{"no host of site lab has a VM mial", "Did you mean mail?"}},
		{name: "nothing near", inv: inventory(false), ref: "database", err: []string{"`holdfast vm list`"}},
		{name: "a name that a silent host may know", inv: inventory(true), ref: "database",
			err: []string{"could not be asked: kvm3 (no route to host)", "or give its UUID"}},
		{name: "two of a name", inv: twins, ref: "web", err: []string{"2 VMs are called web", idWeb + " on kvm1, kvm2", idWeb2 + " on kvm3"}},
		{name: "one of the two, by UUID", inv: twins, ref: idWeb2,
			want: starter.Found{VM: fault.VM{UUID: idWeb2, Name: "web"}, Host: "kvm3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := starter.FindVM(c.inv, c.ref)
			if len(c.err) == 0 {
				require.NoError(t, err)
				require.Equal(t, c.want, got)
				return
			}
			for _, text := range c.err {
				require.ErrorContains(t, err, text)
			}
		})
	}
}

func TestOnHost(t *testing.T) {
	inv, err := starter.OnHost(inventory(true), "kvm2")
	require.NoError(t, err)
	require.Len(t, inv.Hosts, 1)
	require.Len(t, inv.VMs, 2)
	_, err = starter.OnHost(inventory(true), "kvm4")
	require.ErrorContains(t, err, "Did you mean kvm1?")
	_, err = starter.OnHost(inventory(true), "elsewhere")
	require.ErrorContains(t, err, "`holdfast host list`")
}
