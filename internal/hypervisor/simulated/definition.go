package simulated

import "fmt"

const agentChannel = `
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>`

const bridged = `    <interface type='bridge'>
      <source bridge='br0'/>
      <model type='virtio'/>
    </interface>`

// definition is what a host needs to know of the VM, as libvirt writes it.
func (d *domain) definition() string {
	metadata, channel, nic := "", agentChannel, bridged
	if d.annotation != "" {
		metadata = "\n  <metadata>\n    " + d.annotation + "\n  </metadata>"
	}
	if d.on.opts.NoAgents {
		channel = ""
	}
	if d.onTrial != nil {
		nic = ""
	}
	return fmt.Sprintf(`<domain type='kvm'>
  <name>%[1]s</name>
  <uuid>%[2]s</uuid>%[5]s
  <memory unit='KiB'>%[3]d</memory>
  <currentMemory unit='KiB'>%[3]d</currentMemory>
  <vcpu placement='static'>%[4]d</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>preserve</on_crash>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='%[8]s'/>
      <target dev='%[7]s' bus='virtio'/>
    </disk>
%[9]s%[6]s
    <panic model='pvpanic'/>
  </devices>
</domain>
`, d.vm.name, d.vm.uuid, memoryBytes>>10, vcpus, metadata, channel, diskTarget, d.image(), nic)
}
