//go:build cgo

package libvirt

import (
	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// Words for states and reasons, as `virsh domstate --reason` prints them. Where
// an event has a detail for the same thing, it gets the same word.
//
// They stay raw, and two pairs surprise: for a QEMU that was killed the state is
// shut off (crashed), while the event is stopped with the detail failed; and a
// domain that could not be started is shut off (failed) without any event.

var stateWords = map[lv.DomainState]hypervisor.State{
	lv.DOMAIN_NOSTATE:     hypervisor.StateUnknown,
	lv.DOMAIN_RUNNING:     hypervisor.StateRunning,
	lv.DOMAIN_BLOCKED:     hypervisor.StateBlocked,
	lv.DOMAIN_PAUSED:      hypervisor.StatePaused,
	lv.DOMAIN_SHUTDOWN:    hypervisor.StateShutdown,
	lv.DOMAIN_SHUTOFF:     hypervisor.StateShutoff,
	lv.DOMAIN_CRASHED:     hypervisor.StateCrashed,
	lv.DOMAIN_PMSUSPENDED: hypervisor.StatePMSuspended,
}

var reasonWords = map[lv.DomainState][]hypervisor.Reason{
	lv.DOMAIN_RUNNING: {
		lv.DOMAIN_RUNNING_UNKNOWN:            hypervisor.ReasonUnknown,
		lv.DOMAIN_RUNNING_BOOTED:             hypervisor.ReasonBooted,
		lv.DOMAIN_RUNNING_MIGRATED:           hypervisor.ReasonMigrated,
		lv.DOMAIN_RUNNING_RESTORED:           "restored",
		lv.DOMAIN_RUNNING_FROM_SNAPSHOT:      hypervisor.ReasonFromSnapshot,
		lv.DOMAIN_RUNNING_UNPAUSED:           "unpaused",
		lv.DOMAIN_RUNNING_MIGRATION_CANCELED: "migration canceled",
		lv.DOMAIN_RUNNING_SAVE_CANCELED:      "save canceled",
		lv.DOMAIN_RUNNING_WAKEUP:             "event wakeup",
		lv.DOMAIN_RUNNING_CRASHED:            hypervisor.ReasonCrashed,
		lv.DOMAIN_RUNNING_POSTCOPY:           "post-copy",
		lv.DOMAIN_RUNNING_POSTCOPY_FAILED:    "post-copy failed",
	},
	lv.DOMAIN_PAUSED: {
		lv.DOMAIN_PAUSED_UNKNOWN:         hypervisor.ReasonUnknown,
		lv.DOMAIN_PAUSED_USER:            hypervisor.ReasonUser,
		lv.DOMAIN_PAUSED_MIGRATION:       hypervisor.ReasonMigrating,
		lv.DOMAIN_PAUSED_SAVE:            "saving",
		lv.DOMAIN_PAUSED_DUMP:            "dumping",
		lv.DOMAIN_PAUSED_IOERROR:         hypervisor.ReasonIOError,
		lv.DOMAIN_PAUSED_WATCHDOG:        "watchdog",
		lv.DOMAIN_PAUSED_FROM_SNAPSHOT:   hypervisor.ReasonFromSnapshot,
		lv.DOMAIN_PAUSED_SHUTTING_DOWN:   "shutting down",
		lv.DOMAIN_PAUSED_SNAPSHOT:        "creating snapshot",
		lv.DOMAIN_PAUSED_CRASHED:         hypervisor.ReasonCrashed,
		lv.DOMAIN_PAUSED_STARTING_UP:     hypervisor.ReasonStartingUp,
		lv.DOMAIN_PAUSED_POSTCOPY:        "post-copy",
		lv.DOMAIN_PAUSED_POSTCOPY_FAILED: "post-copy failed",
		lv.DOMAIN_PAUSED_API_ERROR:       "api error",
	},
	lv.DOMAIN_SHUTDOWN: {
		lv.DOMAIN_SHUTDOWN_UNKNOWN: hypervisor.ReasonUnknown,
		lv.DOMAIN_SHUTDOWN_USER:    hypervisor.ReasonUser,
	},
	lv.DOMAIN_SHUTOFF: {
		lv.DOMAIN_SHUTOFF_UNKNOWN:       hypervisor.ReasonUnknown,
		lv.DOMAIN_SHUTOFF_SHUTDOWN:      hypervisor.ReasonShutdown,
		lv.DOMAIN_SHUTOFF_DESTROYED:     hypervisor.ReasonDestroyed,
		lv.DOMAIN_SHUTOFF_CRASHED:       hypervisor.ReasonCrashed,
		lv.DOMAIN_SHUTOFF_MIGRATED:      hypervisor.ReasonMigrated,
		lv.DOMAIN_SHUTOFF_SAVED:         hypervisor.ReasonSaved,
		lv.DOMAIN_SHUTOFF_FAILED:        hypervisor.ReasonFailed,
		lv.DOMAIN_SHUTOFF_FROM_SNAPSHOT: hypervisor.ReasonFromSnapshot,
		lv.DOMAIN_SHUTOFF_DAEMON:        hypervisor.ReasonDaemon,
	},
	lv.DOMAIN_CRASHED: {
		lv.DOMAIN_CRASHED_UNKNOWN:  hypervisor.ReasonUnknown,
		lv.DOMAIN_CRASHED_PANICKED: hypervisor.ReasonPanicked,
	},
}

// stateAndReason puts libvirt's numbers into words. A number that a later
// libvirt added is unknown, never an error.
func stateAndReason(state lv.DomainState, reason int) (hypervisor.State, hypervisor.Reason) {
	word, ok := stateWords[state]
	if !ok {
		return hypervisor.StateUnknown, hypervisor.ReasonUnknown
	}
	return word, at(reasonWords[state], reason)
}

// at is the word for a number, and unknown beyond the end and in the gaps.
func at[W ~string](words []W, n int) W {
	if n < 0 || n >= len(words) || words[n] == "" {
		return W(hypervisor.ReasonUnknown)
	}
	return words[n]
}

type lifecycle struct {
	kind    hypervisor.EventKind
	details []hypervisor.Reason
}

var lifecycleWords = map[lv.DomainEventType]lifecycle{
	lv.DOMAIN_EVENT_DEFINED: {hypervisor.EventDefined, []hypervisor.Reason{
		lv.DOMAIN_EVENT_DEFINED_ADDED:         "added",
		lv.DOMAIN_EVENT_DEFINED_UPDATED:       "updated",
		lv.DOMAIN_EVENT_DEFINED_RENAMED:       "renamed",
		lv.DOMAIN_EVENT_DEFINED_FROM_SNAPSHOT: hypervisor.ReasonFromSnapshot,
	}},
	lv.DOMAIN_EVENT_UNDEFINED: {hypervisor.EventUndefined, []hypervisor.Reason{
		lv.DOMAIN_EVENT_UNDEFINED_REMOVED: "removed",
		lv.DOMAIN_EVENT_UNDEFINED_RENAMED: "renamed",
	}},
	lv.DOMAIN_EVENT_STARTED: {hypervisor.EventStarted, []hypervisor.Reason{
		lv.DOMAIN_EVENT_STARTED_BOOTED:        hypervisor.ReasonBooted,
		lv.DOMAIN_EVENT_STARTED_MIGRATED:      hypervisor.ReasonMigrated,
		lv.DOMAIN_EVENT_STARTED_RESTORED:      "restored",
		lv.DOMAIN_EVENT_STARTED_FROM_SNAPSHOT: hypervisor.ReasonFromSnapshot,
		lv.DOMAIN_EVENT_STARTED_WAKEUP:        "event wakeup",
		lv.DOMAIN_EVENT_STARTED_RECREATED:     "recreated",
	}},
	lv.DOMAIN_EVENT_SUSPENDED: {hypervisor.EventSuspended, []hypervisor.Reason{
		// Also while libvirt itself saves or migrates; the state then says so.
		lv.DOMAIN_EVENT_SUSPENDED_PAUSED:          hypervisor.ReasonUser,
		lv.DOMAIN_EVENT_SUSPENDED_MIGRATED:        hypervisor.ReasonMigrating,
		lv.DOMAIN_EVENT_SUSPENDED_IOERROR:         hypervisor.ReasonIOError,
		lv.DOMAIN_EVENT_SUSPENDED_WATCHDOG:        "watchdog",
		lv.DOMAIN_EVENT_SUSPENDED_RESTORED:        "restored",
		lv.DOMAIN_EVENT_SUSPENDED_FROM_SNAPSHOT:   hypervisor.ReasonFromSnapshot,
		lv.DOMAIN_EVENT_SUSPENDED_API_ERROR:       "api error",
		lv.DOMAIN_EVENT_SUSPENDED_POSTCOPY:        "post-copy",
		lv.DOMAIN_EVENT_SUSPENDED_POSTCOPY_FAILED: "post-copy failed",
		lv.DOMAIN_EVENT_SUSPENDED_GUEST_SHUTDOWN:  "shutting down",
	}},
	lv.DOMAIN_EVENT_RESUMED: {hypervisor.EventResumed, []hypervisor.Reason{
		lv.DOMAIN_EVENT_RESUMED_UNPAUSED:        "unpaused",
		lv.DOMAIN_EVENT_RESUMED_MIGRATED:        hypervisor.ReasonMigrated,
		lv.DOMAIN_EVENT_RESUMED_FROM_SNAPSHOT:   hypervisor.ReasonFromSnapshot,
		lv.DOMAIN_EVENT_RESUMED_POSTCOPY:        "post-copy",
		lv.DOMAIN_EVENT_RESUMED_POSTCOPY_FAILED: "post-copy failed",
	}},
	lv.DOMAIN_EVENT_STOPPED: {hypervisor.EventStopped, []hypervisor.Reason{
		lv.DOMAIN_EVENT_STOPPED_SHUTDOWN:      hypervisor.ReasonShutdown,
		lv.DOMAIN_EVENT_STOPPED_DESTROYED:     hypervisor.ReasonDestroyed,
		lv.DOMAIN_EVENT_STOPPED_CRASHED:       hypervisor.ReasonCrashed,
		lv.DOMAIN_EVENT_STOPPED_MIGRATED:      hypervisor.ReasonMigrated,
		lv.DOMAIN_EVENT_STOPPED_SAVED:         hypervisor.ReasonSaved,
		lv.DOMAIN_EVENT_STOPPED_FAILED:        hypervisor.ReasonFailed,
		lv.DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT: hypervisor.ReasonFromSnapshot,
		lv.DOMAIN_EVENT_STOPPED_RECREATED:     "recreated",
	}},
	lv.DOMAIN_EVENT_SHUTDOWN: {hypervisor.EventShutdown, []hypervisor.Reason{
		lv.DOMAIN_EVENT_SHUTDOWN_FINISHED: "finished",
		lv.DOMAIN_EVENT_SHUTDOWN_GUEST:    "guest request",
		lv.DOMAIN_EVENT_SHUTDOWN_HOST:     "host request",
	}},
	lv.DOMAIN_EVENT_PMSUSPENDED: {hypervisor.EventSuspended, []hypervisor.Reason{
		lv.DOMAIN_EVENT_PMSUSPENDED_MEMORY: "pmsuspended",
		lv.DOMAIN_EVENT_PMSUSPENDED_DISK:   "pmsuspended",
	}},
	lv.DOMAIN_EVENT_CRASHED: {hypervisor.EventCrashed, []hypervisor.Reason{
		lv.DOMAIN_EVENT_CRASHED_PANICKED:    hypervisor.ReasonPanicked,
		lv.DOMAIN_EVENT_CRASHED_CRASHLOADED: "crashloaded",
	}},
}

var watchdogWords = []hypervisor.Reason{
	lv.DOMAIN_EVENT_WATCHDOG_NONE:      "none",
	lv.DOMAIN_EVENT_WATCHDOG_PAUSE:     "pause",
	lv.DOMAIN_EVENT_WATCHDOG_RESET:     "reset",
	lv.DOMAIN_EVENT_WATCHDOG_POWEROFF:  "poweroff",
	lv.DOMAIN_EVENT_WATCHDOG_SHUTDOWN:  "shutdown",
	lv.DOMAIN_EVENT_WATCHDOG_DEBUG:     "debug",
	lv.DOMAIN_EVENT_WATCHDOG_INJECTNMI: "inject-nmi",
}

var closeWords = map[lv.ConnectCloseReason]string{
	lv.CONNECT_CLOSE_REASON_ERROR:     "connection broken",
	lv.CONNECT_CLOSE_REASON_EOF:       "libvirtd closed the connection",
	lv.CONNECT_CLOSE_REASON_KEEPALIVE: "keepalive not answered",
	lv.CONNECT_CLOSE_REASON_CLIENT:    "closed by us",
}

var agentWords = []hypervisor.Reason{
	lv.CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED:    hypervisor.ReasonAgentConnected,
	lv.CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_DISCONNECTED: hypervisor.ReasonAgentDisconnected,
}

var memoryRecipients = []hypervisor.Reason{
	lv.DOMAIN_EVENT_MEMORY_FAILURE_RECIPIENT_HYPERVISOR: "hypervisor",
	lv.DOMAIN_EVENT_MEMORY_FAILURE_RECIPIENT_GUEST:      "guest",
}

var memoryActions = []hypervisor.Reason{
	lv.DOMAIN_EVENT_MEMORY_FAILURE_ACTION_IGNORE: "ignore",
	lv.DOMAIN_EVENT_MEMORY_FAILURE_ACTION_INJECT: "inject",
	lv.DOMAIN_EVENT_MEMORY_FAILURE_ACTION_FATAL:  "fatal",
	lv.DOMAIN_EVENT_MEMORY_FAILURE_ACTION_RESET:  "reset",
}

var poolWords = map[lv.StoragePoolState]hypervisor.PoolState{
	lv.STORAGE_POOL_INACTIVE:     hypervisor.PoolInactive,
	lv.STORAGE_POOL_BUILDING:     hypervisor.PoolBuilding,
	lv.STORAGE_POOL_RUNNING:      hypervisor.PoolRunning,
	lv.STORAGE_POOL_DEGRADED:     hypervisor.PoolDegraded,
	lv.STORAGE_POOL_INACCESSIBLE: hypervisor.PoolInaccessible,
}

var monitorWords = map[lv.DomainControlState]hypervisor.Monitor{
	lv.DOMAIN_CONTROL_OK:       hypervisor.MonitorOK,
	lv.DOMAIN_CONTROL_JOB:      hypervisor.MonitorJob,
	lv.DOMAIN_CONTROL_OCCUPIED: hypervisor.MonitorOccupied,
	lv.DOMAIN_CONTROL_ERROR:    hypervisor.MonitorError,
}

// operationWords are those of `virsh domjobinfo`.
var operationWords = []string{
	lv.DOMAIN_JOB_OPERATION_START:           "start",
	lv.DOMAIN_JOB_OPERATION_SAVE:            "save",
	lv.DOMAIN_JOB_OPERATION_RESTORE:         "restore",
	lv.DOMAIN_JOB_OPERATION_MIGRATION_IN:    "incoming migration",
	lv.DOMAIN_JOB_OPERATION_MIGRATION_OUT:   "outgoing migration",
	lv.DOMAIN_JOB_OPERATION_SNAPSHOT:        "snapshot",
	lv.DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT: "snapshot revert",
	lv.DOMAIN_JOB_OPERATION_DUMP:            "dump",
	lv.DOMAIN_JOB_OPERATION_BACKUP:          "backup",
	lv.DOMAIN_JOB_OPERATION_SNAPSHOT_DELETE: "snapshot delete",
}
