package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const indexFile = "index.json"

// maxIndex bounds what is read of an index, in bytes.
const maxIndex = 4 << 20

// Set is what was gathered at once.
type Set struct {
	// Key says what it was gathered for, such as an attempt.
	Key   string    `json:"key"`
	At    time.Time `json:"at"` // when it was complete
	Items []Item    `json:"items"`
}

// index is what an incident's folder holds.
type index struct {
	Incident string `json:"incident"`
	Sets     []Set  `json:"sets"`
}

// Finish names what belongs to a set, which is complete with that. Of a set that
// is there already nothing changes: what comes back is what counts.
func (s *Store) Finish(incident, key string, items []Item) (Set, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	folder := Folder(incident)
	have, err := s.index(folder)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Set{}, err
	}
	if set, ok := have.find(key); ok {
		return set, nil
	}
	set := Set{Key: key, At: s.opts.Now().UTC(), Items: items}
	have.Incident = incident
	have.Sets = append(have.Sets, set)
	text, err := json.MarshalIndent(have, "", "  ")
	if err != nil {
		return Set{}, fmt.Errorf("keep evidence: %w", err)
	}
	if err := s.write(filepath.Join(folder, indexFile), append(text, '\n')); err != nil {
		return Set{}, fmt.Errorf("keep evidence: %w", err)
	}
	s.use(folder).newest = set.At
	return set, nil
}

// Find is the set of that key, if it is complete.
func (s *Store) Find(incident, key string) (Set, bool, error) {
	have, err := s.index(Folder(incident))
	if errors.Is(err, ErrNotFound) {
		return Set{}, false, nil
	}
	set, ok := have.find(key)
	return set, ok, err
}

// Sets are all that there are of an incident, oldest first.
func (s *Store) Sets(incident string) ([]Set, error) {
	have, err := s.index(Folder(incident))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return have.Sets, err
}

func (x index) find(key string) (Set, bool) {
	i := slices.IndexFunc(x.Sets, func(s Set) bool { return s.Key == key })
	if i < 0 {
		return Set{}, false
	}
	return x.Sets[i], true
}

func (s *Store) index(folder string) (index, error) {
	f, err := s.root.Open(filepath.Join(folder, indexFile))
	if errors.Is(err, os.ErrNotExist) {
		return index{}, ErrNotFound
	}
	if err != nil {
		return index{}, fmt.Errorf("read evidence: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxIndex))
	if err != nil {
		return index{}, fmt.Errorf("read evidence: %w", err)
	}
	var have index
	if err := json.Unmarshal(text, &have); err != nil {
		return index{}, fmt.Errorf("read evidence: %s is no index: %w; remove it if nothing in its folder is wanted", f.Name(), err)
	}
	return have, nil
}
