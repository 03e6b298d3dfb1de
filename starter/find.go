package starter

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/internal/nearest"
)

// Found is the VM that a person meant.
type Found struct {
	VM fault.VM `json:"vm"`
	// Host is where it is active, or the one host that has it defined; empty if
	// that is not known.
	Host string `json:"host,omitempty"`
}

// FindVM finds the VM that a person means by a name or a UUID. A UUID is taken
// as it is while hosts are silent, as one of them may know it; a name is not.
func FindVM(inv contract.InventoryResult, ref string) (Found, error) {
	id, isUUID := parseUUID(ref)
	copies := map[string][]contract.VMState{} // by UUID
	var order, names []string
	for _, v := range inv.VMs {
		names = append(names, v.VM.Name)
		if v.VM.Name != ref && (!isUUID || v.VM.UUID != id) {
			continue
		}
		if len(copies[v.VM.UUID]) == 0 {
			order = append(order, v.VM.UUID)
		}
		copies[v.VM.UUID] = append(copies[v.VM.UUID], v)
	}
	switch {
	case len(order) == 1:
		found := copies[order[0]]
		return Found{VM: found[0].VM, Host: homeOf(found)}, nil
	case len(order) > 1:
		return Found{}, ambiguous(ref, order, copies)
	case isUUID && silentHosts(inv) != "":
		return Found{VM: fault.VM{UUID: id}}, nil
	}
	return Found{}, noSuchVM(inv, ref, names)
}

// homeOf is where a VM is active, or the only place where it is defined.
func homeOf(found []contract.VMState) string {
	var active []string
	for _, v := range found {
		if v.Active {
			active = append(active, v.Host)
		}
	}
	switch {
	case len(active) == 1:
		return active[0]
	case len(active) == 0 && len(found) == 1:
		return found[0].Host
	}
	return ""
}

func ambiguous(ref string, uuids []string, copies map[string][]contract.VMState) error {
	lines := make([]string, len(uuids))
	for i, id := range uuids {
		var hosts []string
		for _, v := range copies[id] {
			hosts = append(hosts, v.Host)
		}
		lines[i] = fmt.Sprintf("\n  %s on %s", id, strings.Join(hosts, ", "))
	}
	return fmt.Errorf("%d VMs are called %s: say which by its UUID:%s", len(uuids), ref, strings.Join(lines, ""))
}

func noSuchVM(inv contract.InventoryResult, ref string, names []string) error {
	text := fmt.Sprintf("no host of site %s has a VM %s", inv.Site, ref)
	if silent := silentHosts(inv); silent != "" {
		text = fmt.Sprintf("no host of site %s that answers has a VM %s, and these could not be asked: %s; ask again when they answer, or give its UUID", inv.Site, ref, silent)
	}
	if near := nearest.Word(ref, names); near != "" {
		return fmt.Errorf("%s. Did you mean %s?", text, near)
	}
	return fmt.Errorf("%s: `holdfast vm list` shows those there are", text)
}

// silentHosts names the hosts that could not be asked, and why.
func silentHosts(inv contract.InventoryResult) string {
	var silent []string
	for _, h := range inv.Hosts {
		if !h.Connected {
			silent = append(silent, fmt.Sprintf("%s (%s)", h.Name, h.Error))
		}
	}
	return strings.Join(silent, ", ")
}

// OnHost is the part of an inventory that is about one host.
func OnHost(inv contract.InventoryResult, host string) (contract.InventoryResult, error) {
	i := slices.IndexFunc(inv.Hosts, func(h contract.HostState) bool { return h.Name == host })
	if i < 0 {
		var names []string
		for _, h := range inv.Hosts {
			names = append(names, h.Name)
		}
		if near := nearest.Word(host, names); near != "" {
			return inv, fmt.Errorf("site %s has no host %s. Did you mean %s?", inv.Site, host, near)
		}
		return inv, fmt.Errorf("site %s has no host %s: `holdfast host list` shows those there are", inv.Site, host)
	}
	out := contract.InventoryResult{Site: inv.Site, At: inv.At, Hosts: []contract.HostState{inv.Hosts[i]}}
	for _, v := range inv.VMs {
		if v.Host == host {
			out.VMs = append(out.VMs, v)
		}
	}
	return out, nil
}

// FindIncident finds the incident that a person means: by its ID, with or
// without incident/<site>/ before it, or by the VM, host, storage pool or site
// whose newest one it is. The ID of the answer need not exist if an ID was given.
func (c *Client) FindIncident(ctx context.Context, site, ref string) (id string, err error) {
	if id, ok := incidentID(site, ref); ok {
		return id, nil
	}
	newest, err := c.newest(ctx, site, ref)
	if err != nil {
		return "", err
	}
	if newest == nil {
		return "", NoIncidentOfError{Site: site, Subject: ref}
	}
	return newest.ID, nil
}

// newest is the newest incident of a VM, by its name or UUID, or of whatever
// else has that name; nil if there is none.
func (c *Client) newest(ctx context.Context, site, ref string) (*IncidentSummary, error) {
	name, err := c.nameOf(ctx, site, ref)
	if err != nil {
		return nil, err
	}
	var found *IncidentSummary
	for _, f := range []IncidentFilter{{Site: site, VM: name, Limit: 1}, {Site: site, Subject: name, Limit: 1}} {
		list, err := c.Incidents(ctx, f)
		if err != nil {
			return nil, err
		}
		if len(list) > 0 && (found == nil || list[0].Opened.After(found.Opened)) {
			found = &list[0]
		}
	}
	return found, nil
}

// nameOf is what incidents of a VM are listed by: its name, if it has one.
func (c *Client) nameOf(ctx context.Context, site, ref string) (string, error) {
	if _, isUUID := parseUUID(ref); !isUUID {
		return ref, nil
	}
	inv, err := c.Inventory(ctx, site)
	if err != nil {
		return "", err
	}
	found, err := FindVM(inv, ref)
	if err != nil {
		return "", err
	}
	return found.VM.String(), nil
}

// NoIncidentOfError: a VM, or what else was meant, has no incident that Temporal
// still knows.
type NoIncidentOfError struct{ Site, Subject string }

func (e NoIncidentOfError) Error() string {
	return fmt.Sprintf("%s has no incident at site %s: `holdfast incident list` shows those there are", e.Subject, e.Site)
}

// incidentID completes what looks like the ID of an incident.
func incidentID(site, ref string) (string, bool) {
	switch {
	case strings.HasPrefix(ref, "incident/"):
		return ref, true
	case strings.Contains(ref, "/"):
		return "incident/" + site + "/" + ref, true
	}
	return "", false
}

// parseUUID takes the usual form alone: a VM may well be called by one of the
// other 32 hexadecimal digits.
func parseUUID(ref string) (string, bool) {
	const usual = len("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
	id, err := uuid.Parse(ref)
	if err != nil || len(ref) != usual {
		return "", false
	}
	return id.String(), true
}
