//go:build cgo

package libvirt

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	lv "libvirt.org/go/libvirt"
)

// startLibrary opens the libvirt library and starts the process's one event
// loop, which carries the events and the keepalive of every connection. It must
// come before the first connection.
//
// The loop is the one goroutine of this package without an end: libvirt offers
// no way to take an event loop back.
var startLibrary = sync.OnceValue(func() error {
	if err := lv.EventRegisterDefaultImpl(); err != nil {
		return fmt.Errorf("open the libvirt library: %w: install libvirt's client library (Debian: libvirt0; Fedora: libvirt-libs)", err)
	}
	if err := resolveBulk(); err != nil {
		return err
	}
	warmUp()
	go func() {
		for {
			if err := lv.EventRunDefaultImpl(); err != nil {
				slog.Error("libvirt's event loop failed: events and keepalives of all hosts are late; restart holdfast if this goes on", "error", err)
				time.Sleep(100 * time.Millisecond) // it failed before it could wait: do not spin
			}
		}
	}()
	return nil
})

// warmUp calls, one after the other, every function of the library that this
// package uses, with an object that does not exist: libvirt checks that first and
// returns an error. With the build tag libvirt_dlopen the binding looks each
// function up at its first call and takes no lock for it, so two hosts that
// make the same first call at once could find it half looked up.
func warmUp() {
	conn, dom, pool := &lv.Connect{}, &lv.Domain{}, &lv.StoragePool{}
	_, _ = lv.NewConnectWithAuth("holdfast-no-such-driver:///", nil, 0)
	_, _ = lv.NewConnectWithAuth("holdfast-no-such-driver:///", refuseToType, 0)
	_ = conn.SetKeepAlive(1, 1)
	if timer, err := lv.EventAddTimeout(-1, func(int) {}); err == nil {
		_ = lv.EventRemoveTimeout(timer)
	}
	_, _ = conn.GetLibVersion()
	_, _ = conn.IsAlive()
	_, _ = conn.ListAllDomains(0)
	_, _ = conn.LookupDomainByUUIDString("")
	_, _ = conn.DomainEventLifecycleRegister(nil, func(*lv.Connect, *lv.Domain, *lv.DomainEventLifecycle) {})
	_ = conn.DomainEventDeregister(0)
	_ = conn.RegisterCloseCallback(func(*lv.Connect, lv.ConnectCloseReason) {})
	_ = conn.UnregisterCloseCallback()
	_, _ = conn.GetNodeInfo()
	_, _ = conn.GetMemoryStats(0, 0)
	_, _ = conn.GetCPUStats(0, 0)
	_, _ = conn.ListAllStoragePools(0)
	_, _ = conn.RawPtr()
	_ = conn.Ref()
	_, _ = conn.Close()
	_ = dom.Free()
	_, _ = dom.GetName()
	_, _ = dom.GetUUIDString()
	_, _, _ = dom.GetState()
	_, _ = dom.IsPersistent()
	_, _ = dom.HasManagedSaveImage(0)
	_, _ = dom.GetXMLDesc(0)
	_ = dom.Create()
	_ = dom.Destroy()
	_ = dom.Reset(0)
	_ = dom.Resume()
	_, _ = dom.IsActive()
	_, _ = dom.GetDiskErrors(0)
	_, _, _ = dom.GetTime(0)
	_ = dom.AgentSetResponseTimeout(0, 0)
	warmUpWitness(conn, dom)
	_ = dom.SetMetadata(lv.DOMAIN_METADATA_ELEMENT, "", metadataKey, metadataURI, 0)
	warmUpSnapshots(conn, dom, pool)
	warmUpBackups(conn, dom, pool)
	warmUpTrials(conn, pool)
	warmUpDefinitions(conn, dom)
	_ = pool.Free()
	_, _ = pool.GetName()
	_, _ = pool.GetUUIDString()
	_, _ = pool.GetAutostart()
	_, _ = pool.GetXMLDesc(0)
	_, _ = pool.IsActive()
	_ = pool.Refresh(0)
	_, _ = pool.GetInfo()
}

func warmUpSnapshots(conn *lv.Connect, dom *lv.Domain, pool *lv.StoragePool) {
	snap, vol := &lv.DomainSnapshot{}, &lv.StorageVol{}
	_, _ = conn.DomainDefineXML("")
	_, _ = conn.LookupStoragePoolByTargetPath("")
	_, _ = conn.LookupStorageVolByPath("")
	_, _ = dom.GetMetadata(lv.DOMAIN_METADATA_ELEMENT, metadataURI, 0)
	_ = dom.FSThaw(nil, 0)
	_, _ = dom.ListAllSnapshots(0)
	_, _ = dom.SnapshotCurrent(0)
	_, _ = dom.SnapshotLookupByName("", 0)
	_, _ = dom.CreateSnapshotXML("", 0)
	_, _ = snap.GetName()
	_, _ = snap.GetXMLDesc(0)
	_ = snap.RevertToSnapshot(0)
	_ = snap.Delete(0)
	_ = snap.Free()
	_, _ = pool.StorageVolCreateXML("", 0)
	_ = vol.Delete(0)
	_ = vol.Free()
}

// roundWithin is how long the event loop may take to go round once. It serves
// callbacks that must not wait, so that it takes microseconds.
const roundWithin = 5 * time.Second

// awaitRound returns when the event loop has gone round: what was queued on it
// before has then been done.
func awaitRound() error {
	round := make(chan struct{}, 1)
	timer, err := lv.EventAddTimeout(0, func(int) {
		select {
		case round <- struct{}{}:
		default: // it goes on firing until it is removed
		}
	})
	if err != nil {
		return err
	}
	defer lv.EventRemoveTimeout(timer) //nolint:errcheck // it is there
	select {
	case <-round:
		return nil
	case <-time.After(roundWithin):
		return fmt.Errorf("not gone round within %s", roundWithin)
	}
}
