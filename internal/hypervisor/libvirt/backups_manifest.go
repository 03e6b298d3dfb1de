//go:build cgo

package libvirt

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"holdfast/internal/hypervisor"
)

// The files of a backup, in its folder, all begin with the domain's UUID:
//
//	UUID.NAME.ATTEMPT.TARGET.qcow2  the copy of a disk
//	UUID.NAME.json                  the manifest, written last
//
// ATTEMPT is another one each time: what an attempt that was given up has asked
// of a libvirtd that hung, and what is carried out much later, finds its files
// gone, instead of writing into those of a backup that is whole.
const (
	manifestSuffix = ".json"
	copySuffix     = ".qcow2"
	// restoredSuffix is of the files that a restore makes, in the folders of the
	// domain's own: UUID.KEEP.ATTEMPT.TARGET.restored.
	restoredSuffix = ".restored"
	// namelessKeep stands for the KEEP of a restore that keeps nothing. No backup
	// can be called that.
	namelessKeep = "-"
	// manifestVersion is the version of manifest's fields.
	manifestVersion = 1
)

var backupName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func checkBackupName(name string) error {
	if !backupName.MatchString(name) {
		return fmt.Errorf("%q cannot be the name of a backup: take up to 100 letters, digits, dots, hyphens and underscores, a letter or digit first", name)
	}
	return nil
}

// manifest is what is kept of a backup beside its disks.
type manifest struct {
	Version int    `json:"version"`
	Domain  string `json:"domain"` // UUID
	hypervisor.Backup
	// Checkpoint is the one that libvirt made with it; empty: none.
	Checkpoint string       `json:"checkpoint,omitempty"`
	Sources    []diskOrigin `json:"sources,omitempty"`
	Restored   *restored    `json:"restored,omitempty"` // of a Kept one
}

// diskOrigin is the disk that one was copied from, or, of a kept one, what the
// definition said of it.
type diskOrigin struct {
	Target   string   `json:"target"`
	Chain    []string `json:"chain"` // its files, the one that was written to first
	Capacity uint64   `json:"capacity,omitempty"`
	// Below is the format of the second file of a kept one, if there is one.
	Below string `json:"below,omitempty"`
}

// restored is the restore by which a backup came to be kept. Its manifest is
// written before anything is made, so that the next attempt finds what is left.
type restored struct {
	From    string            `json:"from"`
	Attempt string            `json:"attempt"`
	Files   map[string]string `json:"files"` // that the domain has from then on, by target
	Made    bool              `json:"made"`  // they were made for it, and not kept before
	Ended   flag              `json:"ended"`
}

// flag is a bool that takes as many bytes whether it is set or not: a manifest
// is written anew in place.
type flag bool

// MarshalJSON implements [json.Marshaler].
func (f flag) MarshalJSON() ([]byte, error) {
	if f {
		return []byte(`"yes"`), nil
	}
	return []byte(`"no "`), nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (f *flag) UnmarshalJSON(text []byte) error {
	*f = string(text) == `"yes"`
	return nil
}

var (
	// errCutOff: there is no text, or one that breaks off, as whoever was to write it
	// has not, or not to the end.
	errCutOff = errors.New("the manifest is cut off, or was never written")
	// errNoManifest: it is a file that is called as one.
	errNoManifest = errors.New("the file is no manifest")
)

// parseManifest reads one. errCutOff if nobody has written it to its end.
func parseManifest(text []byte) (manifest, error) {
	var m manifest
	if !json.Valid(text) {
		return m, errCutOff
	}
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &v); err != nil || v.Version <= 0 {
		return m, errNoManifest
	}
	if v.Version != manifestVersion {
		return m, fmt.Errorf("the manifest is of version %d, and this Holdfast knows %d: take the one that has written it", v.Version, manifestVersion)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, errNoManifest
	}
	return m, nil
}

func (m manifest) bytes() ([]byte, error) {
	text, err := json.Marshal(m)
	return append(text, '\n'), err
}

// whole: one that a restore has begun to keep is none until that has ended.
func (m manifest) whole() bool { return m.Restored == nil || bool(m.Restored.Ended) }

// sameAttempt: both are of the same try to restore.
func (m manifest) sameAttempt(other manifest) bool {
	return m.Restored != nil && other.Restored != nil && m.Restored.Attempt == other.Restored.Attempt
}

// sameFiles: both are of the same try to make a backup.
func (m manifest) sameFiles(other manifest) bool {
	return slices.EqualFunc(m.Disks, other.Disks, func(a, b hypervisor.BackupDisk) bool {
		return a.Target == b.Target && path.Base(a.File) == path.Base(b.File)
	})
}

func (m manifest) disk(target string) *hypervisor.BackupDisk {
	for i := range m.Disks {
		if m.Disks[i].Target == target {
			return &m.Disks[i]
		}
	}
	return nil
}

func (m manifest) targets() []string {
	var out []string
	for _, d := range m.Disks {
		out = append(out, d.Target)
	}
	slices.Sort(out)
	return out
}

func (m manifest) origin(target string) *diskOrigin {
	for i := range m.Sources {
		if m.Sources[i].Target == target {
			return &m.Sources[i]
		}
	}
	return nil
}

// sortManifests puts the oldest first, and a parent before what builds upon it
// if both are of the same moment.
func sortManifests(list []manifest) {
	depth := func(m manifest) (n int) {
		for parent := m.Parent; parent != "" && n <= len(list); n++ {
			next := ""
			for _, other := range list {
				if other.Name == parent {
					next = other.Parent
				}
			}
			parent = next
		}
		return n
	}
	slices.SortFunc(list, func(a, b manifest) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(depth(a), depth(b)), cmp.Compare(a.Name, b.Name))
	})
}

// afterAll is a moment, or one just after the newest of these: the host tells a
// moment in whole seconds, another clock may be another's, and the order counts.
func afterAll(list []manifest, at time.Time) time.Time {
	for _, m := range list {
		if !m.Created.Before(at) {
			at = m.Created.Add(time.Millisecond)
		}
	}
	return at
}

func findManifest(list []manifest, name string) (manifest, error) {
	i := slices.IndexFunc(list, func(m manifest) bool { return m.Name == name })
	if i < 0 {
		return manifest{}, fmt.Errorf("there is none called %q: %w", name, hypervisor.ErrNoBackup)
	}
	return list[i], nil
}

// lineage is a backup and those that it builds upon, itself first.
func lineage(list []manifest, m manifest) ([]manifest, error) {
	line := []manifest{m}
	for m.Parent != "" {
		parent, err := findManifest(list, m.Parent)
		if err != nil || len(line) > len(list) {
			return nil, fmt.Errorf("%q builds upon %q, whose manifest is not there: %w", m.Name, m.Parent, hypervisor.ErrDamaged)
		}
		m = parent
		line = append(line, m)
	}
	return line, nil
}

// newAttempt is a word that no other attempt has.
func newAttempt() string {
	raw := make([]byte, 5)
	_, _ = rand.Read(raw) // it never fails
	return hex.EncodeToString(raw)
}

func manifestFile(uuid, name string) string { return uuid + "." + name + manifestSuffix }

func copyFile(uuid, name, attempt, target string) string {
	return strings.Join([]string{uuid, name, attempt, target}, ".") + copySuffix
}

func restoredFile(uuid, keep, attempt, target string) string {
	return strings.Join([]string{uuid, cmp.Or(keep, namelessKeep), attempt, target}, ".") + restoredSuffix
}

// isManifest says of which backup of the domain a file is the manifest, if it is
// one.
func isManifest(uuid, file string) (name string, ok bool) {
	name, ok = strings.CutPrefix(file, uuid+".")
	if !ok {
		return "", false
	}
	name, ok = strings.CutSuffix(name, manifestSuffix)
	return name, ok && (name == namelessKeep || backupName.MatchString(name))
}

// isCopy says whether a file is the copy of a disk, of a backup of that name.
func isCopy(uuid, name, file string) bool {
	rest, ok := strings.CutPrefix(file, uuid+"."+name+".")
	if !ok {
		return false
	}
	rest, ok = strings.CutSuffix(rest, copySuffix)
	attempt, target, two := strings.Cut(rest, ".")
	return ok && two && len(attempt) == hex.EncodedLen(5) && target != "" && !strings.Contains(target, ".")
}

// leftovers are the files of tries to make a backup of that name.
func leftovers(uuid, name string, files []string) []string {
	var out []string
	for _, file := range files {
		if isCopy(uuid, name, path.Base(file)) {
			out = append(out, file)
		}
	}
	return out
}
