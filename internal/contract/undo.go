package contract

import (
	"fmt"

	"holdfast/internal/ladder"
)

// Undo is how to undo a rung that was climbed and has not verified.
type Undo struct {
	Rung ladder.Rung `json:"rung"`
	Host string      `json:"host"`
	// Kept is the snapshot, or for RungBackup the backup, with what was there before.
	Kept string `json:"kept,omitempty"`
	// In is the pool or the folder that the backup is in.
	In string `json:"in,omitempty"`
	// Source is, of RungElsewhere, the host that it was taken away from, and Autostart
	// whether that starts it as it boots.
	Source    string `json:"source,omitempty"`
	Autostart bool   `json:"autostart,omitempty"`
	// Running: it ran before it was stopped for this, and a person asked for it, so
	// that whoever calls it off wants it to run again.
	Running bool `json:"running,omitempty"`
}

// String says what undoing it does.
func (u Undo) String() string {
	switch u.Rung {
	case ladder.RungSnapshot:
		return "put back what was before the revert on " + u.Host
	case ladder.RungBackup:
		return "put back what was before the restore on " + u.Host
	case ladder.RungElsewhere:
		return fmt.Sprintf("bring it back from %s to %s", u.Host, u.Source)
	}
	return "remove a start that did not verify on " + u.Host
}
