package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// agentPort is the port by which libvirt speaks with a guest agent.
const agentPort = "org.qemu.guest_agent.0"

// agent answers as QEMU's guest agent does, as far as the lab has use for it.
// docs/interop/qemu-ga-ref of QEMU says what each command means.
type agent struct {
	now     func() time.Time
	setTime func(time.Time) error
	rtc     func() (time.Time, error)
	power   func(command int)
	flush   func() (disks int, err error)
	writes  *gate

	programs programs
	disks    int // that were frozen
}

func newAgent() *agent {
	return &agent{now: time.Now, setTime: setClock, rtc: readRTC, power: power, flush: flushDisks, writes: &writes}
}

// agentCommands is what guest-info says that the agent knows, and whether it
// answers it while the disks are frozen: as QEMU's own, only what can neither
// wait for a disk nor write to one.
var agentCommands = map[string]bool{
	"guest-sync": true, "guest-sync-delimited": true, "guest-ping": true, "guest-info": true,
	"guest-fsfreeze-status": true, "guest-fsfreeze-thaw": true, "guest-fsfreeze-freeze": false,
	"guest-get-time": false, "guest-set-time": false, "guest-shutdown": false, "guest-exec": false, "guest-exec-status": false,
}

// request is one line to the agent.
type request struct {
	Execute   string `json:"execute"`
	Arguments struct {
		ID   *int64 `json:"id"`
		Time *int64 `json:"time"`
		Mode string `json:"mode"`
		PID  int    `json:"pid"`
		execArguments
	} `json:"arguments"`
}

// delimiter begins what answers a guest-sync-delimited, so that the other end can
// tell where the leftovers of an earlier conversation stop. No JSON holds it.
const delimiter = 0xFF

// answer is what the agent says to a line; nil for nothing.
func (a *agent) answer(line []byte) []byte {
	// The other end uses the delimiter in the same way.
	line = bytes.TrimSpace(line[bytes.LastIndexByte(line, delimiter)+1:])
	if len(line) == 0 {
		return nil
	}
	var request request
	if err := json.Unmarshal(line, &request); err != nil {
		return failure("GenericError", "not a request: "+err.Error())
	}
	whileFrozen, known := agentCommands[request.Execute]
	if !known {
		return failure("CommandNotFound", fmt.Sprintf("The command %s has not been found", request.Execute))
	}
	if !whileFrozen && a.writes.frozen() {
		return failure("CommandNotFound", fmt.Sprintf("Command %s has been disabled: the agent is in frozen state", request.Execute))
	}
	return a.obey(request)
}

// obey does what the agent knows.
func (a *agent) obey(request request) []byte {
	arguments := request.Arguments
	switch request.Execute {
	case "guest-sync", "guest-sync-delimited":
		if arguments.ID == nil {
			return failure("GenericError", "Parameter 'id' is missing")
		}
		answer := success(*arguments.ID)
		if request.Execute == "guest-sync-delimited" {
			return slices.Concat([]byte{delimiter}, answer)
		}
		return answer
	case "guest-ping":
		return success(struct{}{})
	case "guest-info":
		return success(a.info())
	case "guest-get-time":
		return success(a.now().UnixNano())
	case "guest-set-time":
		return a.settingTime(arguments.Time)
	case "guest-shutdown":
		return a.shuttingDown(arguments.Mode)
	case "guest-exec":
		pid, err := a.programs.start(arguments.execArguments)
		return result(map[string]int{"pid": pid}, err)
	case "guest-exec-status":
		return result(a.programs.status(arguments.PID))
	case "guest-fsfreeze-freeze":
		disks, err := a.writes.freeze(a.flush)
		a.disks = disks
		return result(disks, err)
	case "guest-fsfreeze-thaw":
		if !a.writes.thaw() {
			return success(0)
		}
		return success(a.disks)
	case "guest-fsfreeze-status":
		if a.writes.frozen() {
			return success("frozen")
		}
		return success("thawed")
	}
	return nil // guest-info and this switch name the same
}

// info is what guest-info returns.
func (a *agent) info() any {
	type command struct {
		Name    string `json:"name"`
		Enabled bool   `json:"enabled"`
		Success bool   `json:"success-response"`
	}
	var commands []command
	for _, name := range slices.Sorted(maps.Keys(agentCommands)) {
		enabled := agentCommands[name] || !a.writes.frozen()
		commands = append(commands, command{name, enabled, name != "guest-shutdown"})
	}
	return map[string]any{"version": "7.2.0", "supported_commands": commands}
}

// settingTime sets the clock to a time in ns, or without one to the hardware clock's.
func (a *agent) settingTime(ns *int64) []byte {
	var to time.Time
	if ns != nil {
		to = time.Unix(0, *ns)
	} else {
		var err error
		if to, err = a.rtc(); err != nil {
			return failure("GenericError", err.Error())
		}
	}
	if err := a.setTime(to); err != nil {
		return failure("GenericError", err.Error())
	}
	return success(struct{}{})
}

// shuttingDown says nothing if all is well: the end of the guest says it.
func (a *agent) shuttingDown(mode string) []byte {
	commands := map[string]int{
		"": unix.LINUX_REBOOT_CMD_POWER_OFF, "powerdown": unix.LINUX_REBOOT_CMD_POWER_OFF,
		"halt": unix.LINUX_REBOOT_CMD_HALT, "reboot": unix.LINUX_REBOOT_CMD_RESTART,
	}
	command, ok := commands[mode]
	if !ok {
		return failure("GenericError", "mode is invalid (valid values are: halt|powerdown|reboot)")
	}
	go a.power(command)
	return nil
}

// result is success, or failure if there is an error.
func result(value any, err error) []byte {
	if err != nil {
		return failure("GenericError", err.Error())
	}
	return success(value)
}

func success(value any) []byte { return agentLine(map[string]any{"return": value}) }

func failure(class, desc string) []byte {
	return agentLine(map[string]any{"error": map[string]string{"class": class, "desc": desc}})
}

func agentLine(message any) []byte {
	raw, err := json.Marshal(message)
	if err != nil {
		return nil
	}
	return append(raw, '\n')
}

// power ends the guest in order, or begins it anew.
func power(command int) {
	unix.Sync()
	fmt.Printf("witness: power %x: %v\n", command, unix.Reboot(command))
}

func setClock(to time.Time) error {
	at := unix.NsecToTimeval(to.UnixNano())
	return unix.Settimeofday(&at)
}

// readRTC reads the hardware clock, which runs on the host's time.
func readRTC() (time.Time, error) {
	fd, err := unix.Open("/dev/rtc0", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return time.Time{}, fmt.Errorf("open /dev/rtc0: %w", err)
	}
	defer unix.Close(fd)
	t, err := unix.IoctlGetRTCTime(fd)
	if err != nil {
		return time.Time{}, fmt.Errorf("read /dev/rtc0: %w", err)
	}
	return time.Date(int(t.Year)+1900, time.Month(t.Mon+1), int(t.Mday), int(t.Hour), int(t.Min), int(t.Sec), 0, time.UTC), nil
}
