package evidence

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// pruneEvery is how often what is too old is removed.
const pruneEvery = time.Hour

// Run removes what is too old, now and then, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.Prune()
		}
	}
}

// Prune removes the evidence of incidents that is too old, and the oldest of what
// is too much in all.
func (s *Store) Prune() {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.opts.Now().Add(-s.opts.Keep)
	for folder, u := range s.used {
		if u.newest.Before(limit) && u.writing == 0 {
			s.remove(folder, "it is too old")
		}
	}
	s.makeRoom(0, "")
}

// makeRoom removes incidents, the oldest first, until so many bytes more fit in,
// and reports whether they do. One incident stays.
func (s *Store) makeRoom(bytes int64, spared string) bool {
	for s.total+bytes > s.opts.MaxTotal {
		oldest := ""
		for folder, u := range s.used {
			if folder != spared && u.writing == 0 && (oldest == "" || u.newest.Before(s.used[oldest].newest)) {
				oldest = folder
			}
		}
		if oldest == "" || !s.remove(oldest, "room is needed") {
			return false
		}
	}
	return true
}

func (s *Store) remove(folder, why string) bool {
	if err := s.root.RemoveAll(folder); err != nil {
		s.opts.Logger.Error("evidence cannot be removed: remove it by hand, or it counts against evidence.maxTotal", "folder", folder, "error", err)
		return false
	}
	u := s.used[folder]
	s.opts.Logger.Info("removed evidence", "folder", folder, "bytes", u.bytes, "newest", u.newest, "why", why)
	s.total -= u.bytes
	delete(s.used, folder)
	return true
}

// reserve takes room for a file, which replaces the one that is there, until it
// is told whether that was written. An incident stays until then.
func (s *Store) reserve(folder, path string, bytes int64) (done func(written bool), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	more := bytes
	if old, err := s.root.Lstat(path); err == nil {
		more -= old.Size()
	}
	u := s.use(folder)
	if u.bytes+more > s.opts.MaxIncident {
		return nil, fmt.Errorf("%w: %d bytes, and %d of %d are in use for this incident (evidence.maxIncident)", ErrTooMuch, bytes, u.bytes, s.opts.MaxIncident)
	}
	if !s.makeRoom(more, folder) {
		return nil, fmt.Errorf("%w: %d bytes, and %d of %d are in use (evidence.maxTotal)", ErrTooMuch, bytes, s.total, s.opts.MaxTotal)
	}
	u.bytes += more
	s.total += more
	u.newest = s.opts.Now()
	u.writing++
	return func(written bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		u.writing--
		if !written {
			u.bytes -= more
			s.total -= more
		}
	}, nil
}

// use is what an incident takes, with the lock held.
func (s *Store) use(folder string) *usage {
	u := s.used[folder]
	if u == nil {
		u = &usage{newest: s.opts.Now()}
		s.used[folder] = u
	}
	return u
}

// measure looks at what is there.
func (s *Store) measure() error {
	folders, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if !folder.IsDir() {
			continue // none of ours
		}
		files, err := fs.ReadDir(s.root.FS(), folder.Name())
		if err != nil {
			return err
		}
		u := &usage{}
		for _, f := range files {
			info, err := s.root.Lstat(filepath.Join(folder.Name(), f.Name()))
			if err != nil {
				return err
			}
			u.bytes += info.Size()
			if info.ModTime().After(u.newest) {
				u.newest = info.ModTime()
			}
		}
		s.used[folder.Name()] = u
		s.total += u.bytes
	}
	return nil
}
