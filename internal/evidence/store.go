// Package evidence keeps what was seen of a VM before something that destroys
// state was done to it: pictures, logs, figures. It is kept in files outside of
// Temporal, which gets no more than their names, sizes and checksums.
//
//	DIR/incident_default_VM1_20260102-030405-1f2e3d4c/index.json
//	DIR/incident_default_VM1_20260102-030405-1f2e3d4c/8a9b0c1d-screenshot.png
//
// A file that is there is whole. What no index names is left over from a crash;
// it counts against the limits and goes with its incident.
package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// What a store keeps if nobody says otherwise.
const (
	DefaultMaxIncident = 50 << 20 // bytes
	DefaultMaxTotal    = 2 << 30  // bytes
	DefaultKeep        = 30 * 24 * time.Hour
)

// Errors of a store.
var (
	// ErrTooMuch: there is no room for it within the limits.
	ErrTooMuch = errors.New("no room for more evidence")
	// ErrNotFound: there is no such evidence, or none any more.
	ErrNotFound = errors.New("no such evidence")
)

// Options say where a store is and how much it keeps; a zero is the default.
type Options struct {
	// Dir is the store's own folder, of one process at a time. It is made if it is
	// not there.
	Dir string
	// MaxIncident and MaxTotal bound what is kept of one incident and in all, in
	// bytes. For MaxTotal the oldest incidents go first.
	MaxIncident, MaxTotal int64
	// Keep is how long an incident's evidence stays after the last was added.
	Keep   time.Duration
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: slog.Default()
}

// Store keeps evidence in a folder. Its methods may be called from any goroutine;
// they take as long as the folder's file system takes.
type Store struct {
	opts Options
	root *os.Root

	mu    sync.Mutex
	used  map[string]*usage // by an incident's folder
	total int64             // bytes
}

// usage is what one incident takes.
type usage struct {
	bytes   int64
	newest  time.Time
	writing int // how many files are being written
}

// Open opens a store, and removes what is too old.
func Open(o Options) (*Store, error) {
	if o.Dir == "" {
		return nil, errors.New("evidence: no folder to keep it in")
	}
	if o.MaxIncident <= 0 {
		o.MaxIncident = DefaultMaxIncident
	}
	if o.MaxTotal <= 0 {
		o.MaxTotal = DefaultMaxTotal
	}
	if o.Keep <= 0 {
		o.Keep = DefaultKeep
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	o.Dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("evidence: %w; say where with evidence.dir in the site file", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w; say where with evidence.dir in the site file", err)
	}
	s := &Store{opts: o, root: root, used: make(map[string]*usage)}
	if err := s.measure(); err != nil {
		return nil, errors.Join(fmt.Errorf("evidence: %w", err), root.Close())
	}
	s.Prune()
	return s, nil
}

// Close lets go of the folder.
func (s *Store) Close() error { return s.root.Close() }

// Dir is the store's folder, as a whole path.
func (s *Store) Dir() string { return s.opts.Dir }

// Item is one piece of evidence, or why it could not be had.
type Item struct {
	Name   string        `json:"name"`           // such as screenshot.png
	File   string        `json:"file,omitempty"` // its file in the incident's folder; empty: there is none
	MIME   string        `json:"mime,omitempty"`
	Bytes  int64         `json:"bytes,omitempty"`
	SHA256 string        `json:"sha256,omitempty"` // in hex
	At     time.Time     `json:"at"`
	Took   time.Duration `json:"took,omitempty"`
	// HostPath is a file on the VM's host, which the store neither has nor counts.
	HostPath string `json:"hostPath,omitempty"`
	Error    string `json:"error,omitempty"`
}

// itemName keeps names that are the same on every file system.
var itemName = regexp.MustCompile(`\A[a-z0-9][a-z0-9.-]{0,63}\z`)

// Put keeps one piece of evidence. It is found once Finish has named it; until
// then putting it again replaces it. key names the set that it belongs to.
func (s *Store) Put(incident, key, name, mime string, data []byte) (Item, error) {
	if !itemName.MatchString(name) {
		return Item{}, fmt.Errorf("evidence: %q is no name for a piece of it", name)
	}
	folder, file := Folder(incident), fileOf(key, name)
	path := filepath.Join(folder, file)
	sum := sha256.Sum256(data)
	item := Item{Name: name, File: file, MIME: mime, Bytes: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), At: s.opts.Now().UTC()}
	done, err := s.reserve(folder, path, item.Bytes)
	if err != nil {
		return Item{}, err
	}
	err = s.write(path, data)
	done(err == nil)
	if err != nil {
		return Item{}, fmt.Errorf("keep evidence: %w", err)
	}
	return item, nil
}

// fileOf is different for each set, and the same for the same piece of one.
func fileOf(key, name string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:4]) + "-" + name
}

var notPlain = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// Folder is what the folder of an incident is called. No two incidents share
// one, and no ID leads out of the store.
func Folder(incident string) string {
	sum := sha256.Sum256([]byte(incident))
	plain := strings.TrimLeft(notPlain.ReplaceAllString(incident, "_"), ".")
	return plain[:min(len(plain), 120)] + "-" + hex.EncodeToString(sum[:4])
}

// write replaces a file as a whole.
func (s *Store) write(path string, data []byte) error {
	if err := s.root.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	next := path + ".next" // left behind by a crash, it is overwritten
	f, err := s.root.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = s.root.Rename(next, path)
	}
	if err != nil {
		_ = s.root.Remove(next)
	}
	return err
}

// Open opens a piece of evidence by the folder of its incident and its file. It
// is ErrNotFound if no index names it.
func (s *Store) Open(folder, file string) (io.ReadSeekCloser, Item, error) {
	if !plainName(folder) || !plainName(file) {
		return nil, Item{}, ErrNotFound
	}
	index, err := s.index(folder)
	if err != nil {
		return nil, Item{}, err
	}
	for _, set := range index.Sets {
		for _, item := range set.Items {
			if item.File != file {
				continue
			}
			f, err := s.root.Open(filepath.Join(folder, file))
			if errors.Is(err, os.ErrNotExist) {
				err = ErrNotFound
			}
			if err != nil {
				return nil, Item{}, err
			}
			return f, item, nil
		}
	}
	return nil, Item{}, ErrNotFound
}

// plainName: it is one name, of a file or folder of ours.
func plainName(name string) bool {
	return name != "" && name[0] != '.' && !strings.ContainsAny(name, `/\:`) && filepath.IsLocal(name)
}
