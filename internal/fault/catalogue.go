package fault

// catalogue is the data of every kind. docs/faults has a page for each, and a
// test holds the two together.
var catalogue = []Info{
	{
		Kind: KindCrashed, Subject: SubjectVM, Level: Critical, Response: RespondIncident, Severity: 3,
		Source:       "lifecycle event and listing",
		Confirmation: "shut off (crashed), or stopped (failed) while a guest was there, and active on no other host",
		Lab:          "lab kill VM",
	},
	{
		Kind: KindStartFailed, Subject: SubjectVM, Level: Critical, Response: RespondIncident, Severity: 3,
		Source: "listing", Confirmation: "shut off (failed), and active on no other host",
		Lab: "lab virsh HOST start VM, with its disk moved away",
	},
	{
		Kind: KindPanicked, Subject: SubjectVM, Level: Critical, Response: RespondIncident, Severity: 2,
		Source: "pvpanic: lifecycle event and listing", Confirmation: "crashed (panicked)",
		Lab: "lab panic VM",
	},
	{
		Kind: KindLost, Subject: SubjectVM, Level: Critical, Response: RespondIncident, Severity: 3,
		Source:       "listing",
		Confirmation: "a guest was there; the host came back not knowing why it stopped, or not knowing it; every other host was listed since and none has it active",
		Lab:          "lab power-off HOST, lab power-on HOST; or lab lose VM",
	},
	{
		Kind: KindHung, Subject: SubjectVM, Level: Critical, Response: RespondIncident, Severity: 2,
		Source:       "bulk statistics; guest agent",
		Confirmation: "running, and missing from the statistics for hungAfter; or its vCPUs made no progress for hungAfter and its guest agent, which answered before, does not",
		Lab:          "lab hang VM; lab hang-guest VM; lab do VM halt",
	},
	{
		Kind: KindWatchdog, Subject: SubjectVM, Level: Major, Response: RespondIncident, Severity: 2,
		Source: "watchdog event", Confirmation: "the event; over when the guest runs on with progress, was reset or stopped",
		Lab: "lab do VM watchdog",
	},
	{
		Kind: KindIOError, Subject: SubjectVM, Level: Critical, Response: RespondIncident, Severity: 2,
		Source: "I/O error event, listing, disk errors", Confirmation: "paused (I/O error), and no disk says that space is missing",
		Lab: "lab up --flaky, lab break-disk VM, lab do VM write --disk vdb",
	},
	{
		Kind: KindNoSpace, Subject: SubjectVM, Level: Critical, Response: RespondIncident, Severity: 2,
		Source: "I/O error event, listing, disk errors", Confirmation: "paused (I/O error), and the event or a disk says that space is missing",
		Lab: "lab up --small-pool, lab fill-pool HOST, lab do VM write",
	},
	{
		Kind: KindPaused, Subject: SubjectVM, Level: Critical, Response: RespondIncident, Severity: 1,
		Source:       "listing",
		Confirmation: "paused for hungAfter, neither by a person nor by an operation",
		Lab:          "lab virsh HOST qemu-monitor-command VM --hmp stop",
	},
	{
		Kind: KindBootFailed, Subject: SubjectVM, Level: Major, Response: RespondIncident, Severity: 1,
		Source:       "guest agent",
		Confirmation: "running for bootWithin since its start was seen, its guest agent is expected and has not answered since",
		Lab:          "lab do VM mute, then lab virsh HOST reset VM",
	},
	{
		Kind: KindClock, Subject: SubjectVM, Level: Warning, Response: RespondAlarm, Severity: 1,
		Source: "guest agent", Confirmation: "the agent's time is off by more than the rule on vm.clock allows",
		Lab: "lab do VM clock --by 60s",
	},
	{
		Kind: KindCPU, Subject: SubjectVM, Level: Warning, Response: RespondAlarm, Severity: 1,
		Source: "bulk statistics", Confirmation: "rule on vm.cpu or vm.steal", Lab: "lab do VM cpu",
	},
	{
		Kind: KindMemory, Subject: SubjectVM, Level: Warning, Response: RespondAlarm, Severity: 1,
		Source: "bulk statistics (balloon)", Confirmation: "rule on vm.memory", Lab: "lab do VM memory",
	},
	{
		Kind: KindDiskIO, Subject: SubjectVM, Level: Warning, Response: RespondAlarm, Severity: 1,
		Source: "bulk statistics", Confirmation: "rule on vm.disk.ops or vm.disk.latency", Lab: "lab do VM disk",
	},
	{
		Kind: KindNet, Subject: SubjectVM, Level: Warning, Response: RespondAlarm, Severity: 1,
		Source: "bulk statistics", Confirmation: "rule on vm.net.bytes or vm.net.drops", Lab: "lab do VM net",
	},
	{
		Kind: KindDiskFull, Subject: SubjectVM, Level: Major, Response: RespondAlarm, Severity: 1,
		Source: "bulk statistics", Confirmation: "rule on vm.disk.full: allocation against capacity, of a disk that has grown since it was first seen",
		Lab: "lab do VM fill",
	},
	{
		Kind: KindRequested, Subject: SubjectVM, Level: Warning, Response: RespondIncident, Severity: 1,
		Source: "a person: holdfast recover", Confirmation: "none", Lab: "holdfast recover VM",
	},
	{
		Kind: KindAlert, Subject: SubjectVM, Level: Major, Response: RespondIncident, Severity: 1,
		Source: "POST /api/v2/alerts", Confirmation: "the alert's own; it must name a VM of the site", Lab: "curl, or a real Alertmanager",
	},
	{
		Kind: KindHostUnreachable, Subject: SubjectHost, Level: Critical, Response: RespondIncident, Severity: 3,
		Source:       "libvirt keepalive, and every configured vantage point",
		Confirmation: "silent for unreachableAfter, and every configured vantage point says so",
		Lab:          "lab cut HOST; lab power-off HOST",
	},
	{
		Kind: KindHostOff, Subject: SubjectHost, Level: Critical, Response: RespondIncident, Severity: 3,
		Source: "the power command of the host", Confirmation: "libvirt is silent and the power command says off",
		Lab: "lab power-off HOST",
	},
	{
		Kind: KindLibvirtdDead, Subject: SubjectHost, Level: Major, Response: RespondIncident, Severity: 2,
		Source:       "libvirt connection, TCP",
		Confirmation: "silent for unreachableAfter, while its kernel refuses the connection or another port or the agent answers",
		Lab:          "lab kill-libvirtd HOST",
	},
	{
		Kind: KindLibvirtdHung, Subject: SubjectHost, Level: Major, Response: RespondIncident, Severity: 2,
		Source: "libvirt connection, TCP", Confirmation: "silent for unreachableAfter, while its port accepts",
		Lab: "lab hang-libvirtd HOST",
	},
	{
		Kind: KindMemoryErrors, Subject: SubjectHost, Level: Major, Response: RespondIncident, Severity: 2,
		Source: "libvirt's memory-failure event; the agent's EDAC counters", Confirmation: "the event, or a counter that grew",
		NoLab: "it takes broken memory: poisoning a page needs KVM. Simulated hosts and a faked EDAC tree stand in",
	},
	{
		Kind: KindHostCPU, Subject: SubjectHost, Level: Warning, Response: RespondAlarm, Severity: 1,
		Source: "libvirt node statistics", Confirmation: "rule on host.cpu",
		NoLab: "all hosts of a lab share one machine's processors, so that its load is the load of all. Simulated hosts stand in",
	},
	{
		Kind: KindHostMemory, Subject: SubjectHost, Level: Warning, Response: RespondAlarm, Severity: 1,
		Source: "libvirt node statistics", Confirmation: "rule on host.memory",
		NoLab: "all hosts of a lab share one machine's memory. Simulated hosts stand in",
	},
	{
		Kind: KindHostDiskIO, Subject: SubjectHost, Level: Warning, Response: RespondAlarm, Severity: 1,
		Source: "the agent's /proc/diskstats", Confirmation: "rule on host.disk.ops",
		NoLab: "all hosts of a lab share one machine's disks. A faked procfs stands in",
	},
	{
		Kind: KindHostPSI, Subject: SubjectHost, Level: Warning, Response: RespondAlarm, Severity: 1,
		Source: "the agent's /proc/pressure", Confirmation: "rule on host.psi.cpu, host.psi.memory or host.psi.io",
		NoLab: "pressure stall information is of the whole machine, and many kernels have it off. A faked procfs stands in",
	},
	{
		Kind: KindHostClock, Subject: SubjectHost, Level: Warning, Response: RespondAlarm, Severity: 1,
		Source: "the agent's clock", Confirmation: "rule on host.clock",
		NoLab: "namespaces share one wall clock. A faked agent stands in",
	},
	{
		Kind: KindPoolLost, Subject: SubjectPool, Level: Critical, Response: RespondIncident, Severity: 3,
		Source: "storage pools of every host", Confirmation: "was active or is to start with the host, and is not active, twice in a row",
		Lab: "lab lose-pool HOST",
	},
	{
		Kind: KindPoolFull, Subject: SubjectPool, Level: Major, Response: RespondAlarm, Severity: 2,
		Source: "storage pools of every host", Confirmation: "rule on pool.full", Lab: "lab up --small-pool, lab fill-pool HOST",
	},
	{
		Kind: KindCutOff, Subject: SubjectSite, Level: Critical, Response: RespondAlarm, Severity: 3,
		Source:       "this monitor's own connections",
		Confirmation: "of at least two hosts all are silent for this monitor, or of at least three more than half fell silent at once and nobody elsewhere confirms it; and no power supply says that they are off",
		Lab:          "lab cut of every HOST, or of the monitor's own link",
	},
	{
		Kind: KindTemporalAway, Subject: SubjectSite, Level: Critical, Response: RespondAlarm, Severity: 2,
		Source: "reports to Temporal", Confirmation: "every attempt failed for temporalAfter", Lab: "kill Temporal",
	},
	{
		Kind: KindLate, Subject: SubjectSite, Level: Warning, Response: RespondAlarm, Severity: 1,
		Source: "the monitor's own schedule", Confirmation: "samples of hosts that answer came more than two periods late, three times in a row",
		NoLab: "it takes a monitor without processor time, which would hold up the lab as well. Slow simulated hosts stand in",
	},
	{
		Kind: KindStorm, Subject: SubjectSite, Level: Critical, Response: RespondIncident, Severity: 3,
		Source: "host faults", Confirmation: "more hosts than the storm share failed within the storm window",
		Lab: "lab power-off of most HOSTs",
	},
}
