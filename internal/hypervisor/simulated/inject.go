package simulated

import (
	"fmt"
	"slices"
	"strings"
)

// injection is one action that a person may do to a simulated site.
type injection struct {
	action string
	do     func(c *Cluster, target string, count int) error
	done   string // what is then so; %s is the target
}

// injections are the actions of contract.SimFaultInput.
var injections = []injection{
	{"kill", onTarget((*Cluster).KillVM), "killed the QEMU process of %s"},
	{"panic", onTarget((*Cluster).PanicVM), "%s: the guest's kernel panicked, and QEMU waits"},
	{"shutdown", onTarget((*Cluster).ShutdownVM), "shut %s down in order, as a person would: Holdfast leaves it stopped"},
	{"destroy", onTarget((*Cluster).DestroyVM), "pulled the plug of %s, as a person would: Holdfast leaves it stopped"},
	{"fail-starts", (*Cluster).FailStarts, "%s: %s"},
	{"power-off", onTarget((*Cluster).PowerOffHost), "host %s has no power, and its VMs are gone"},
	{"power-on", onTarget((*Cluster).PowerOnHost), "host %s has power and has booted; none of its VMs runs yet"},
	{"cut", onTarget((*Cluster).CutHost), "host %s is off the network; its VMs run on"},
	{"heal", onTarget((*Cluster).HealHost), "host %s is on the network"},
	{"hang-libvirtd", onTarget((*Cluster).HangLibvirtd), "libvirtd on %s hangs; its VMs run on"},
	{"start-libvirtd", onTarget((*Cluster).bringLibvirtdBack), "libvirtd on %s runs"},
}

func onTarget(do func(*Cluster, string) error) func(*Cluster, string, int) error {
	return func(c *Cluster, target string, _ int) error { return do(c, target) }
}

// Actions lists what Inject can do.
func Actions() []string {
	names := make([]string, len(injections))
	for i, in := range injections {
		names[i] = in.action
	}
	return names
}

// Inject breaks or mends something and says what it did. The target is a VM, by
// name or UUID, or the name of a host; count is for fail-starts alone: how many
// of the VM's next starts fail, negative for all of them. Mending what is whole
// is no error.
func (c *Cluster) Inject(action, target string, count int) (string, error) {
	i := slices.IndexFunc(injections, func(in injection) bool { return in.action == action })
	if i < 0 {
		return "", fmt.Errorf("a simulated site has no action %q; known: %s", action, strings.Join(Actions(), ", "))
	}
	in := injections[i]
	if err := in.do(c, target, count); err != nil {
		return "", err
	}
	if in.action == "fail-starts" {
		return fmt.Sprintf(in.done, target, startsThatFail(count)), nil
	}
	return fmt.Sprintf(in.done, target), nil
}

func startsThatFail(n int) string {
	switch {
	case n < 0:
		return "every start fails until further notice"
	case n == 0:
		return "starts work again"
	case n == 1:
		return "the next start fails"
	}
	return fmt.Sprintf("the next %d starts fail", n)
}

// bringLibvirtdBack mends a libvirtd that hangs and one that is dead.
func (c *Cluster) bringLibvirtdBack(host string) error {
	if err := c.ResumeLibvirtd(host); err != nil {
		return err
	}
	return c.StartLibvirtd(host)
}
