package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"holdfast/test/lab/internal/task"
)

// Paths inside every host.
const (
	hostImages  = "/var/lib/libvirt/images"
	hostBoot    = "/var/lib/libvirt/boot"
	hostConsole = "/var/log/libvirt/console"
	hostRun     = "/run"
)

// guestMemory is what a guest gets. The kernel and the witness live in half of it.
const guestMemory = 128 // MiB

// The lab's libvirtd asks nobody for a password: it listens only on the lab's
// own network, which has no way to or from any other.
const libvirtdConf = `listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
listen_addr = "%[1]s"
host_uuid = "%[2]s"
keepalive_interval = 5
keepalive_count = 5
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
`

const qemuConf = `user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
migration_address = "0.0.0.0"
migration_host = "%[1]s"
`

// A console file that is rolled over would take acknowledgements with it.
const virtlogdConf = `max_size = 1073741824
max_backups = 0
log_outputs = "3:file:/var/log/libvirt/virtlogd.log"
`

const poolXML = `<pool type='dir'>
  <name>images</name>
  <target><path>` + hostImages + `</path></target>
</pool>
`

// What a clock does to a guest without KVM is left out: the lab's witness
// counts, it does not measure time.
var domainXML = template.Must(template.New("domain").Parse(`<domain type='qemu'>
  <name>{{.Name}}</name>
  <uuid>{{.UUID}}</uuid>
  <memory unit='MiB'>{{.Memory}}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{{.Boot}}/vmlinuz</kernel>
    <initrd>{{.Boot}}/initrd</initrd>
    <cmdline>console=tty0 console=ttyS0 quiet panic=0 tsc=reliable no_timer_check mitigations=off nokaslr i8042.noaux ipv6.disable=1 lab.address={{.Address}}{{if .BootDisk}} lab.boot=vda{{end}}</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>preserve</on_crash>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' error_policy='stop' discard='unmap'/>
      <source file='{{.Disk}}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
{{- if .Flaky}}
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw' error_policy='stop' discard='unmap'/>
      <source protocol='nbd' name='{{.Name}}'>
        <host transport='unix' socket='{{.FlakySocket}}'/>
      </source>
      <target dev='vdb' bus='virtio'/>
    </disk>
{{- end}}
    <controller type='usb' model='none'/>
    <serial type='pty'>
      <log file='{{.Console}}' append='on'/>
      <target port='0'/>
    </serial>
    <video><model type='vga' vram='1024'/></video>
    <interface type='bridge'>
      <mac address='{{.MAC}}'/>
      <source bridge='{{.Bridge}}'/>
      <model type='virtio'/>
      <rom enabled='no'/>
    </interface>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <channel type='unix'>
      <source mode='bind' path='{{.TaskSocket}}'/>
      <target type='virtio' name='{{.TaskChannel}}'/>
    </channel>
    <watchdog model='ib700' action='none'/>
    <memballoon model='virtio'><stats period='1'/></memballoon>
    <panic model='isa'/>
  </devices>
</domain>
`))

// domain is the definition of a VM.
func (l *Lab) domain(vm VM) (string, error) {
	var out bytes.Buffer
	err := domainXML.Execute(&out, map[string]any{
		"Name": vm.Name, "UUID": vm.UUID, "Memory": guestMemory, "Boot": hostBoot, "Disk": vm.Disk,
		"Console": filepath.Join(hostConsole, vm.Name+".log"),
		"MAC":     macAddress(l.id, vm.Name), "Bridge": guestBridge,
		"TaskSocket": taskSocket(vm.Name), "TaskChannel": task.Channel,
		"Flaky": l.info.Flaky, "FlakySocket": flakySocket,
		"BootDisk": l.info.BootDisk, "Address": vm.Address + "/24",
	})
	return out.String(), err
}

// writeFiles makes what the hosts are to find when they boot.
func (l *Lab) writeFiles() error {
	for _, host := range l.info.Hosts {
		if err := l.writeHostFiles(host); err != nil {
			return err
		}
	}
	if !l.info.Flaky {
		return nil
	}
	return l.makeFlakyDisks()
}

// writeHostFiles makes a host's part of the lab's folder: what it will see as
// its own /etc/libvirt and so on. It survives a power cut, /run does not.
func (l *Lab) writeHostFiles(host Host) error {
	for _, dir := range []string{"etc-libvirt/qemu", "var-lib-libvirt/images", "var-lib-libvirt/boot", "var-log-libvirt/console", "var-cache-libvirt"} {
		if err := os.MkdirAll(l.hostFile(host.Name, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(l.imageDir(host.Name), 0o755); err != nil {
		return err
	}
	files := map[string]string{
		"etc-libvirt/libvirtd.conf": fmt.Sprintf(libvirtdConf, host.Address, hostUUID(l.id, host.Name)),
		"etc-libvirt/qemu.conf":     fmt.Sprintf(qemuConf, host.Address),
		"etc-libvirt/virtlogd.conf": virtlogdConf,
		"etc-hosts":                 l.etcHosts(),
		"etc-resolv.conf":           "",
		"pool.xml":                  poolXML,
	}
	for name, content := range files {
		if err := os.WriteFile(l.hostFile(host.Name, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// etcHosts names all hosts of the lab: there is no DNS in it, and waiting for
// one delays every start and migration.
func (l *Lab) etcHosts() string {
	var out strings.Builder
	out.WriteString("127.0.0.1 localhost\n::1 localhost\n")
	for _, h := range l.info.Hosts {
		fmt.Fprintf(&out, "%s %s %s\n", h.Address, h.Name, strings.ToLower(h.Name))
	}
	return out.String()
}

// siteFile is the lab as the worker under test is told of it.
func (l *Lab) siteFile(power bool) (string, error) {
	var out strings.Builder
	out.WriteString("site: lab\nmode: repair\nhosts:\n")
	for _, h := range l.info.Hosts {
		fmt.Fprintf(&out, "  - name: %s\n    uri: %s\n", h.Name, h.URI)
		if power {
			entry, err := l.powerEntry(h.Name)
			if err != nil {
				return "", err
			}
			out.WriteString(entry)
		}
	}
	return out.String(), nil
}
