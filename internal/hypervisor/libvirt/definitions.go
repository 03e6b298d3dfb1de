//go:build cgo

package libvirt

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// Networks implements [hypervisor.Host].
func (h *Host) Networks(ctx context.Context) ([]string, error) {
	return call(ctx, h, "list virtual networks", func(l *link) ([]string, error) {
		list, err := l.conn.ListAllNetworks(lv.CONNECT_LIST_NETWORKS_ACTIVE)
		if hasCode(err, lv.ERR_NO_SUPPORT) {
			return nil, nil // a host without the network driver has none
		}
		if err != nil {
			return nil, err
		}
		var names []string
		for i := range list {
			name, nerr := list[i].GetName()
			err = cmp.Or(err, nerr)
			names = append(names, name)
			_ = list[i].Free()
		}
		slices.Sort(names)
		return names, err
	})
}

// Define implements [hypervisor.Host]. libvirt takes a definition with the UUID and
// the name of a domain that it knows for a change of that one: so both are looked up
// first. And it leaves out without a word what it does not know, unless it is told to
// compare with its schema: a VM from a newer host must not lose a device that way.
func (h *Host) Define(ctx context.Context, definition string) error {
	id, name, unreadable := identityOf(definition)
	_, err := call(ctx, h, strings.TrimSpace("define domain "+id), func(l *link) (struct{}, error) {
		if unreadable != nil {
			return struct{}{}, unreadable
		}
		if err := l.unknown(id, name); err != nil {
			return struct{}{}, err
		}
		d, err := l.conn.DomainDefineXMLFlags(definition, lv.DOMAIN_DEFINE_VALIDATE)
		if err != nil {
			if taken := l.unknown(id, name); errors.Is(taken, hypervisor.ErrExists) {
				return struct{}{}, taken // somebody else was faster
			}
			return struct{}{}, l.notDefined(err, definition)
		}
		return struct{}{}, d.Free()
	})
	return err
}

// identityOf reads what a definition is of. Its error quotes nothing of it.
func identityOf(definition string) (id, name string, err error) {
	var d struct {
		XMLName xml.Name `xml:"domain"`
		Name    string   `xml:"name"`
		UUID    string   `xml:"uuid"`
	}
	if xml.Unmarshal([]byte(definition), &d) != nil {
		return "", "", fmt.Errorf("the definition cannot be read as that of a domain: %w", hypervisor.ErrInvalidState)
	}
	if _, err := uuid.Parse(d.UUID); err != nil || d.Name == "" {
		return "", "", fmt.Errorf("the definition has no name, or no UUID: %w", hypervisor.ErrInvalidState)
	}
	return d.UUID, d.Name, nil
}

// unknown: the host has no domain of that UUID or name.
func (l *link) unknown(id, name string) error {
	d, err := l.conn.LookupDomainByUUIDString(id)
	what := "UUID"
	if hasCode(err, lv.ERR_NO_DOMAIN) {
		d, err = l.conn.LookupDomainByName(name)
		what = "name"
	}
	switch {
	case hasCode(err, lv.ERR_NO_DOMAIN):
		return nil
	case err != nil:
		return err
	}
	_ = d.Free()
	return fmt.Errorf("it has a domain of that %s: %w", what, hypervisor.ErrExists)
}

// notDefined finds the sentinel for a definition that was refused. libvirt quotes
// values of it in what it says.
func (l *link) notDefined(err error, definition string) error {
	var lerr lv.Error
	if !errors.As(err, &lerr) || !l.alive() {
		return err
	}
	said := l.host.said(err)
	for _, secret := range secretsOf(definition) {
		said = strings.ReplaceAll(said, secret, "…")
	}
	sentinel := sentinelOf(lerr, true)
	if sentinel == nil {
		sentinel = hypervisor.ErrInvalidState
	}
	return fmt.Errorf("it refuses the definition: %s: %w", said, sentinel)
}

// secretsOf are those that a definition with DOMAIN_XML_SECURE has in it: passwords
// of consoles, and cookies of disks.
func secretsOf(definition string) []string {
	var out []string
	in, at := xml.NewDecoder(strings.NewReader(definition)), ""
	for {
		token, err := in.RawToken()
		if err != nil { // its end
			return slices.DeleteFunc(out, func(s string) bool { return s == "" })
		}
		switch t := token.(type) {
		case xml.StartElement:
			at = t.Name.Local
			for _, a := range t.Attr {
				if strings.HasPrefix(a.Name.Local, "passw") && !strings.HasPrefix(a.Name.Local, "passwdValid") {
					out = append(out, a.Value)
				}
			}
		case xml.CharData:
			if at == "cookie" {
				out = append(out, strings.TrimSpace(string(t)))
			}
		case xml.EndElement:
			at = ""
		}
	}
}

// Undefine implements [hypervisor.Host]. It touches no image: when it comes to it,
// the domain may run on another host already. So the bitmaps of checkpoints that it
// makes libvirt forget stay in the images; what they cost there is little, and QEMU
// takes them along.
func (h *Host) Undefine(ctx context.Context, id string) error {
	ctx, cancel := h.bounded(ctx)
	defer cancel()
	_, err := call(ctx, h, "undefine domain "+id, func(l *link) (struct{}, error) {
		d, err := l.conn.LookupDomainByUUIDString(id)
		if err != nil {
			return struct{}{}, err
		}
		defer d.Free() //nolint:errcheck // the reference is gone whatever it says
		return struct{}{}, l.undefine(ctx, d)
	})
	return err
}

// undefine does nothing any more once nobody waits for it: a call that hung, and goes
// on long after, would undefine what has been defined since.
func (l *link) undefine(ctx context.Context, d *lv.Domain) error {
	if err := stopped(d); err != nil {
		return err
	}
	ties, ours, err := tiesOf(d)
	if err != nil {
		return err
	}
	if len(ties) > 0 {
		return fmt.Errorf("%s: %w", strings.Join(ties, "; "), hypervisor.ErrInvalidState)
	}
	definition, err := d.GetXMLDesc(lv.DOMAIN_XML_SECURE | lv.DOMAIN_XML_INACTIVE)
	if err != nil {
		return err
	}
	autostart, err := d.GetAutostart()
	if err != nil {
		return err
	}
	for _, name := range ours {
		if err := deleteCheckpoint(d, name, lv.DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY); err != nil {
			return fmt.Errorf("forget checkpoint %s: %w", name, l.spoken(err))
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := undefineOnly(d, strings.Contains(definition, "<tpm")); err != nil {
		if ties, _, terr := tiesOf(d); terr == nil && len(ties) > 0 { // made meanwhile
			return fmt.Errorf("%s: %w", strings.Join(ties, "; "), hypervisor.ErrInvalidState)
		}
		return judge(d, err, active)
	}
	return l.notStarted(d, definition, autostart)
}

// undefineOnly undefines, and removes nothing else. libvirt before 8.9 has no word
// for the state of a TPM, and removes it.
func undefineOnly(d *lv.Domain, tpm bool) error {
	err := d.UndefineFlags(lv.DOMAIN_UNDEFINE_KEEP_NVRAM | lv.DOMAIN_UNDEFINE_KEEP_TPM)
	if !hasCode(err, lv.ERR_INVALID_ARG) {
		return err
	}
	if tpm {
		return fmt.Errorf("it has a TPM, whose state this host's libvirt would remove with it: update that to 8.9 or later: %w", hypervisor.ErrInvalidState)
	}
	if err = d.UndefineFlags(lv.DOMAIN_UNDEFINE_KEEP_NVRAM); hasCode(err, lv.ERR_INVALID_ARG) {
		err = d.Undefine() // of a driver without firmware, such as libvirt's own for tests
	}
	return err
}

// notStarted: libvirt makes a domain transient that is undefined while it is active,
// and somebody may have started it just before. Then it is defined again.
func (l *link) notStarted(d *lv.Domain, definition string, autostart bool) error {
	active, err := d.IsActive()
	if hasCode(err, lv.ERR_NO_DOMAIN) || err == nil && !active {
		return nil
	}
	if err != nil {
		return err
	}
	if err := l.define(definition); err != nil {
		return fmt.Errorf("it was started just before, and is transient from now on, as it could not be defined again: %w", l.notDefined(err, definition))
	}
	if autostart {
		if err := d.SetAutostart(true); err != nil {
			l.host.log.Warn("a domain that was started as it was to be undefined is not marked for autostart any more", "error", l.host.said(err))
		}
	}
	return fmt.Errorf("it was started meanwhile: %w", hypervisor.ErrAlreadyActive)
}

// tiesOf says in words what only this host has of a domain, and which checkpoints it
// has of our backups: to forget those makes the next backup a full one, wherever.
func tiesOf(d *lv.Domain) (ties, ours []string, err error) {
	persistent, err := d.IsPersistent()
	if err != nil {
		return nil, nil, err
	}
	if !persistent {
		ties = append(ties, "it is transient, and gone when it stops: define it (virsh dumpxml, virsh define)")
	}
	snapshots, err := readSnapshots(d)
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for _, s := range snapshots {
		names = append(names, s.Name)
	}
	if len(names) > 0 {
		ties = append(ties, fmt.Sprintf("it has %s that only this host knows of, %s: delete them (holdfast snapshot delete)",
			counted(len(names), "snapshot"), strings.Join(names, ", ")))
	}
	points, err := checkpoints(d)
	if err != nil {
		return nil, nil, err
	}
	var others []string
	for _, c := range points {
		if strings.HasPrefix(c.Name, ourCheckpoints) {
			ours = append(ours, c.Name)
		} else {
			others = append(others, c.Name)
		}
	}
	if len(others) > 0 {
		ties = append(ties, fmt.Sprintf("it has %s of another backup program that only this host knows of, %s: delete them (virsh checkpoint-delete)",
			counted(len(others), "checkpoint"), strings.Join(others, ", ")))
	}
	if !persistent {
		return ties, ours, nil // it has no managed save image
	}
	saved, err := d.HasManagedSaveImage(0)
	if err != nil {
		return nil, nil, err
	}
	if saved {
		ties = append(ties, "it has a managed save image, which is on this host: start the domain, or remove the image (virsh managedsave-remove)")
	}
	return ties, ours, nil
}

func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// Autostart implements [hypervisor.Host].
func (h *Host) Autostart(ctx context.Context, uuid string) (bool, error) {
	return domain(ctx, h, "read autostart of domain", uuid, func(d *lv.Domain) (bool, error) {
		if err := isPersistent(d); err != nil {
			return false, err
		}
		return d.GetAutostart()
	})
}

// SetAutostart implements [hypervisor.Host].
func (h *Host) SetAutostart(ctx context.Context, uuid string, on bool) error {
	return h.act(ctx, "set autostart of domain", uuid, func(d *lv.Domain) error {
		if err := isPersistent(d); err != nil {
			return err
		}
		return d.SetAutostart(on)
	})
}

func isPersistent(d *lv.Domain) error {
	persistent, err := d.IsPersistent()
	if err == nil && !persistent {
		err = fmt.Errorf("it is transient, and gone when it stops: %w", hypervisor.ErrInvalidState)
	}
	return err
}

// warmUpDefinitions is the part of warmUp that is used here.
func warmUpDefinitions(conn *lv.Connect, dom *lv.Domain) {
	network := &lv.Network{}
	_, _ = conn.ListAllNetworks(0)
	_, _ = network.GetName()
	_ = network.Free()
	_, _ = conn.DomainDefineXMLFlags("", 0)
	_, _ = conn.LookupDomainByName("")
	_ = dom.UndefineFlags(0)
	_ = dom.Undefine()
	_, _ = dom.GetAutostart()
	_ = dom.SetAutostart(false)
}
