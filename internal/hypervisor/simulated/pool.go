package simulated

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"holdfast/internal/hypervisor"
)

// PoolName is what the one storage pool of every host is called.
const PoolName = "images"

const (
	poolTarget = "/var/lib/libvirt/images"
	poolBytes  = 1 << 40
	// calmPoolUsed percent of a pool are in use until [Cluster.FillPool].
	calmPoolUsed = 10
)

// pool is a host's storage pool. The machine's lock guards it.
type pool struct {
	uuid    string
	stopped bool
	lost    bool    // its storage is gone
	used    float64 // percent
}

func newPool(site, host string) pool {
	return pool{uuid: uuid.NewSHA1(namespace, []byte(site+"/pool/"+host)).String(), used: calmPoolUsed}
}

// LosePool takes away the storage under the host's pool. As with the real one,
// nobody notices until the pool is read anew: that fails, with an error in the
// listing, and stops the pool, which is inactive from then on.
func (c *Cluster) LosePool(host string) error {
	return c.onMachine(host, func(m *machine) { m.pool.lost = true })
}

// RestorePool brings the storage back, and starts the pool.
func (c *Cluster) RestorePool(host string) error {
	return c.onMachine(host, func(m *machine) { m.pool.lost, m.pool.stopped = false, false })
}

// StopPool is a person who stops the pool; its storage is well.
func (c *Cluster) StopPool(host string) error {
	return c.onMachine(host, func(m *machine) { m.pool.stopped = true })
}

// FillPool says how much of the host's pool is in use, in percent.
func (c *Cluster) FillPool(host string, percent float64) error {
	if !within(percent, 100) {
		return fmt.Errorf("a pool cannot be filled to %v percent: give it 0 to 100", percent)
	}
	return c.onMachine(host, func(m *machine) { m.pool.used = percent })
}

func (h *host) Pools(ctx context.Context) ([]hypervisor.Pool, error) {
	return call(ctx, h, func(done func([]hypervisor.Pool, error)) {
		done([]hypervisor.Pool{h.m.pool.read()}, nil)
	})
}

// read is a refresh, and what is then so.
func (p *pool) read() hypervisor.Pool {
	out := hypervisor.Pool{Name: PoolName, UUID: p.uuid, State: hypervisor.PoolInactive, Autostart: true, Target: poolTarget}
	switch {
	case p.stopped:
	case p.lost:
		p.stopped = true
		out.Error = "cannot open directory '" + poolTarget + "': No such file or directory"
	default:
		out.State = hypervisor.PoolRunning
		out.Capacity = poolBytes
		out.Available = uint64(poolBytes * (1 - p.used/100))
	}
	return out
}
