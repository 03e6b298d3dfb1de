package simulated

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/hypervisor"
)

// Node is the machine under a host, and how busy it is. A new one changes how
// fast its counters grow, and never where they stand.
type Node struct {
	CPUs        int
	CPU         float64 // percent of what all processors could do
	MemoryTotal uint64  // bytes
	MemoryUsed  float64 // percent
}

// CalmNode is what a machine is until [Cluster.SetNode].
func CalmNode() Node {
	return Node{CPUs: 16, CPU: 20, MemoryTotal: 64 << 30, MemoryUsed: 40}
}

// SetNode changes a host's machine, or how busy it is.
func (c *Cluster) SetNode(host string, n Node) error {
	return c.changeNode(host, func(Node) Node { return n })
}

func (c *Cluster) changeNode(host string, change func(Node) Node) error {
	m, err := c.machine(host)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := change(m.node.Node)
	if n.CPUs < 1 || !within(n.CPU, 100) || !within(n.MemoryUsed, 100) {
		return fmt.Errorf("node of %s: %+v: give it a CPU or more, and percents of 0 to 100", host, n)
	}
	m.node.settle(time.Now())
	m.node.Node = n
	return nil
}

// nodeState is a machine that is on. The machine's lock guards it.
type nodeState struct {
	Node
	at         time.Time // until when the counters are complete
	busy, idle float64   // ns
}

func (n *nodeState) boot(now time.Time) { n.at, n.busy, n.idle = now, 0, 0 }

func (n *nodeState) settle(now time.Time) {
	ns := float64(now.Sub(n.at)) * float64(n.CPUs)
	n.at = now
	n.busy += ns * n.CPU / 100
	n.idle += ns * (1 - n.CPU/100)
}

func (h *host) Node(ctx context.Context) (hypervisor.NodeStats, error) {
	return call(ctx, h, func(done func(hypervisor.NodeStats, error)) {
		n := &h.m.node
		now := time.Now()
		n.settle(now)
		done(hypervisor.NodeStats{
			At: now, CPUs: n.CPUs, CPUTime: time.Duration(n.busy), CPUIdle: time.Duration(n.idle),
			MemoryTotal: n.MemoryTotal, MemoryAvailable: uint64(float64(n.MemoryTotal) * (1 - n.MemoryUsed/100)),
		}, nil)
	})
}
