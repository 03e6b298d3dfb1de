package simulated_test

import (
	"context"
	"strings"
	"testing"

	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/hosttest"
	"holdfast/internal/hypervisor/simulated"
)

func TestConformance(t *testing.T) {
	newFixture := func(t *testing.T) hosttest.Fixture {
		c := simulated.New(simulated.Options{Hosts: 2, VMsPerHost: 2})
		vm := func(name string) hosttest.VM {
			v, _ := c.VM(name)
			return hosttest.VM{UUID: v.UUID, Name: v.Name, Memory: 1 << 30, VCPUs: 2}
		}
		on := func(name string, do func(string) error) func(context.Context) error {
			return func(context.Context) error { return do(name) }
		}
		return hosttest.Fixture{
			Host: c.Host("A"), Other: c.Host("B"), HostName: "A",
			VM: vm("VM1"), Neighbour: vm("VM3"),
			Kill:    on("VM1", c.KillVM),
			Panic:   on("VM1", c.PanicVM),
			Destroy: on("VM1", c.DestroyVM),
			Pause: on("VM1", func(name string) error {
				return c.PauseVM(name, hypervisor.ReasonUser)
			}),
			Inside: hosttest.Inside{
				Commands: true, Screen: true, DumpTo: "/var/lib/libvirt/dump",
				DumpSize: func(_ context.Context, path string) (uint64, error) {
					dumps, err := c.Dumps("A")
					return dumps[path], err
				},
			},
			Disk: hosttest.Disk{
				Mark:     func(_ context.Context, mark byte) error { return c.MarkDisk("VM1", mark) },
				ReadMark: func(context.Context) (byte, error) { return c.DiskMark("VM1") },
			},
			Pool: simulated.PoolName, BackupPool: simulated.PoolName, BackupFolder: simulated.BackupFolder,
			SharedFolder: "/var/lib/libvirt/images", OwnFolder: simulated.LocalFolder, Network: simulated.Network,
			DamageBackup: func(_ context.Context, file string) error { return c.DamageFile("VM1", file) },
			HangGuest:    on("VM1", c.HangGuest), UnhangGuest: on("VM1", c.UnhangGuest),
			FailDisk: on("VM1", func(name string) error { return c.FailDisk(name, true) }), MendDisk: on("VM1", c.MendDisk),
			LosePool: on("A", c.LosePool), RestorePool: on("A", c.RestorePool),
			Hang: on("VM1", c.HangVM), Unhang: on("VM1", c.UnhangVM),
			HangLibvirtd: on("A", c.HangLibvirtd), ResumeLibvirtd: on("A", c.ResumeLibvirtd),
			KillLibvirtd: on("A", c.KillLibvirtd), StartLibvirtd: on("A", c.StartLibvirtd),
			Cut: on("A", c.CutHost), Heal: on("A", c.HealHost),
			OnTrial: hosttest.OnTrial{
				Left: func(context.Context) (domains, files []string, err error) {
					all, err := c.Trials("A")
					for _, name := range all {
						if strings.HasSuffix(name, ".qcow2") {
							files = append(files, name)
						} else {
							domains = append(domains, name)
						}
					}
					return domains, files, err
				},
				CorruptDisk: on("VM1", c.CorruptDisk), DownState: hypervisor.StateRunning,
				Again: c.Host("A"),
			},
		}
	}
	hosttest.Run(t, newFixture)
	hosttest.RunTrials(t, newFixture)
}
