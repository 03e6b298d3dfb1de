//go:build cgo

package libvirt

import (
	"encoding/xml"
	"fmt"
	"path"
	"slices"
	"strings"

	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"
)

// endTrial destroys a trial of a domain and removes its files: that with the UUID,
// or, without one, any that there is.
func (l *link) endTrial(of, trial string) error {
	d, err := l.lookUpTrial(of, trial)
	if err != nil {
		return err
	}
	if d != nil {
		err := l.destroyTrial(d)
		_ = d.Free()
		if err != nil {
			return err
		}
	}
	return l.removeFiles(trialFiles(of, trial))
}

// lookUpTrial returns nil if it has ended.
func (l *link) lookUpTrial(of, trial string) (*lv.Domain, error) {
	var d *lv.Domain
	var err error
	if trial == "" {
		d, err = l.conn.LookupDomainByName(trialName(of))
	} else {
		d, err = l.conn.LookupDomainByUUIDString(trial)
	}
	if hasCode(err, lv.ERR_NO_DOMAIN) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if name, err := d.GetName(); err != nil || !onTrial(name) {
		_ = d.Free()
		return nil, fmt.Errorf("domain %s is no trial, and stays", trial)
	}
	return d, nil
}

// destroyTrial returns when its QEMU is gone. libvirt makes the file of its UEFI
// variables behind the back of the storage pool, which is told of it then.
func (l *link) destroyTrial(d *lv.Domain) error {
	text, err := d.GetXMLDesc(0)
	if err == nil {
		err = d.Destroy()
	}
	if hasCode(err, lv.ERR_NO_DOMAIN) {
		return nil
	}
	if err != nil {
		if active, aerr := d.IsActive(); hasCode(aerr, lv.ERR_NO_DOMAIN) || aerr == nil && !active {
			return nil // it has ended by itself
		}
		return err
	}
	var trial libvirtxml.Domain
	if trial.Unmarshal(text) != nil || trial.OS == nil || trial.OS.NVRam == nil || trial.OS.NVRam.NVRam == "" {
		return nil
	}
	pool, err := l.poolOf(path.Dir(trial.OS.NVRam.NVRam))
	if err != nil {
		return err
	}
	defer pool.Free() //nolint:errcheck // the reference is gone whatever it says
	return l.refresh(pool)
}

// removeFiles removes all volumes whose names begin so, from whichever pool.
func (l *link) removeFiles(prefix string) error {
	pools, err := l.conn.ListAllStoragePools(lv.CONNECT_LIST_STORAGE_POOLS_ACTIVE)
	if hasCode(err, lv.ERR_NO_SUPPORT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() {
		for i := range pools {
			_ = pools[i].Free()
		}
	}()
	for i := range pools {
		if err := removeFilesIn(&pools[i], prefix); err != nil {
			return err
		}
	}
	return nil
}

func removeFilesIn(pool *lv.StoragePool, prefix string) error {
	text, err := pool.GetXMLDesc(0)
	if err != nil {
		return unlessGone(err)
	}
	var def poolDefinition
	if xml.Unmarshal([]byte(text), &def) != nil || !slices.Contains([]string{"dir", "fs", "netfs"}, def.Type) {
		return nil
	}
	volumes, err := pool.ListAllStorageVolumes(0)
	if err != nil {
		return unlessGone(err)
	}
	var failed error
	for i := range volumes {
		name, err := volumes[i].GetName()
		if err == nil && strings.HasPrefix(name, prefix) {
			if err := volumes[i].Delete(0); err != nil && !hasCode(err, lv.ERR_NO_STORAGE_VOL) {
				failed = err
			}
		}
		_ = volumes[i].Free()
	}
	return failed
}

// unlessGone: a pool that was stopped meanwhile has no volumes that could be seen.
func unlessGone(err error) error {
	if hasCode(err, lv.ERR_NO_STORAGE_POOL) || hasCode(err, lv.ERR_OPERATION_INVALID) {
		return nil
	}
	return err
}

// warmUpTrials is the part of warmUp that is used here.
func warmUpTrials(conn *lv.Connect, pool *lv.StoragePool) {
	_, _ = conn.DomainCreateXML("", 0)
	_, _ = conn.LookupDomainByName("")
	_, _ = pool.ListAllStorageVolumes(0)
}
