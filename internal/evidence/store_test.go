package evidence

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const incident = "incident/default/VM1/20260102-030405"

// clock is a time that a test sets.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func open(t *testing.T, o Options) *Store {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "evidence")
	}
	s, err := Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// keep keeps one piece in a set of its own.
func keep(t *testing.T, s *Store, incident, key, data string) Item {
	t.Helper()
	item, err := s.Put(incident, key, "a.txt", "text/plain", []byte(data))
	require.NoError(t, err)
	_, err = s.Finish(incident, key, []Item{item})
	require.NoError(t, err)
	return item
}

func read(t *testing.T, s *Store, item Item) string {
	t.Helper()
	f, got, err := s.Open(Folder(incident), item.File)
	require.NoError(t, err)
	defer f.Close()
	require.Equal(t, item.SHA256, got.SHA256)
	data, err := io.ReadAll(f)
	require.NoError(t, err)
	return string(data)
}

func TestStoreKeepsAndFinds(t *testing.T) {
	s := open(t, Options{})
	picture, err := s.Put(incident, "attempt 1", "screenshot.png", "image/png", []byte("picture"))
	require.NoError(t, err)
	require.Equal(t, int64(7), picture.Bytes)
	_, _, err = s.Open(Folder(incident), picture.File)
	require.ErrorIs(t, err, ErrNotFound, "the set is not complete")
	_, found, err := s.Find(incident, "attempt 1")
	require.NoError(t, err)
	require.False(t, found)

	missing := Item{Name: "job.json", At: time.Now().UTC(), Error: "no answer"}
	set, err := s.Finish(incident, "attempt 1", []Item{picture, missing})
	require.NoError(t, err)
	require.Equal(t, "picture", read(t, s, picture))
	again, err := s.Finish(incident, "attempt 1", nil)
	require.NoError(t, err)
	require.Equal(t, set, again, "a set is gathered once")
	keep(t, s, incident, "attempt 2", "more")

	// Another process finds it all.
	require.NoError(t, s.Close())
	s = open(t, Options{Dir: s.Dir()})
	sets, err := s.Sets(incident)
	require.NoError(t, err)
	require.Len(t, sets, 2)
	require.Equal(t, []Item{picture, missing}, sets[0].Items)
	require.Equal(t, "picture", read(t, s, picture))
	sets, err = s.Sets("incident/other")
	require.NoError(t, err)
	require.Empty(t, sets)
}

func TestStoreIsPrivate(t *testing.T) {
	s := open(t, Options{})
	item := keep(t, s, incident, "k", "x")
	for path, want := range map[string]os.FileMode{
		s.Dir(): 0o700, filepath.Join(s.Dir(), Folder(incident)): 0o700,
		filepath.Join(s.Dir(), Folder(incident), item.File): 0o600, filepath.Join(s.Dir(), Folder(incident), indexFile): 0o600,
	} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, want, info.Mode().Perm(), path)
	}
}

// No ID, key or name leads out of the store, and nothing but evidence comes out of it.
func TestStoreStaysInItsFolder(t *testing.T) {
	s := open(t, Options{})
	outside := filepath.Join(filepath.Dir(s.Dir()), "outside")
	require.NoError(t, os.WriteFile(outside, []byte("secret"), 0o600))
	for _, id := range []string{"../outside", "..", ".", "", "/etc/passwd", "a/../../b", "a\x00b", strings.Repeat("x", 5000), "C:\\x"} {
		item, err := s.Put(id, "../../"+id, "a.txt", "text/plain", []byte("x"))
		require.NoError(t, err, "%q", id)
		_, err = s.Finish(id, "../../"+id, []Item{item})
		require.NoError(t, err)
		require.True(t, plainName(Folder(id)), "%q", Folder(id))
	}
	require.NotEqual(t, Folder("a/b"), Folder("a_b"))
	for _, name := range []string{"../x", "", ".x", "a/b", "A.txt", strings.Repeat("x", 65), indexFile + "/x"} {
		_, err := s.Put(incident, "k", name, "text/plain", nil)
		require.ErrorContains(t, err, "is no name", "%q", name)
	}
	item := keep(t, s, incident, "k", "x")
	folder := Folder(incident)
	require.NoError(t, os.Symlink(outside, filepath.Join(s.Dir(), folder, "link")))
	for _, c := range [][2]string{
		{folder, indexFile}, {folder, "../../outside"}, {"..", "outside"}, {folder, "link"}, {folder, ""}, {"", item.File}, {".", "."},
		{folder + "/..", folder}, {"../" + filepath.Base(s.Dir()) + "/" + folder, item.File},
	} {
		_, _, err := s.Open(c[0], c[1])
		require.ErrorIs(t, err, ErrNotFound, "%v", c)
	}
	// Even an index that was tampered with.
	index := filepath.Join(s.Dir(), folder, indexFile)
	text, err := os.ReadFile(index)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(index, []byte(strings.ReplaceAll(string(text), item.File, "link")), 0o600))
	_, _, err = s.Open(folder, "link")
	require.Error(t, err)
	require.NoError(t, os.WriteFile(index, []byte("{"), 0o600))
	_, _, err = s.Open(folder, item.File)
	require.ErrorContains(t, err, "is no index")
}

func TestLimitOfAnIncident(t *testing.T) {
	s := open(t, Options{MaxIncident: 10})
	keep(t, s, incident, "1", "123456")
	_, err := s.Put(incident, "2", "a.txt", "text/plain", []byte("12345"))
	require.ErrorIs(t, err, ErrTooMuch)
	require.ErrorContains(t, err, "evidence.maxIncident")
	_, err = s.Put(incident, "1", "a.txt", "text/plain", []byte("1234567890"))
	require.NoError(t, err, "it replaces the one that is there")
	keep(t, s, "another", "1", "123456")
}

func TestOldestGoFirst(t *testing.T) {
	c := &clock{now: time.Now()}
	s := open(t, Options{MaxTotal: 20, Keep: time.Hour, Now: c.Now})
	has := func() string {
		var all string
		for _, id := range []string{"a", "b", "c", "d"} {
			sets, err := s.Sets(id)
			require.NoError(t, err)
			if len(sets) > 0 {
				all += id
			}
		}
		return all
	}
	for _, id := range []string{"a", "b", "a"} { // a is newer than b in the end
		c.now = c.now.Add(time.Minute)
		keep(t, s, id, c.now.String(), "123456")
	}
	require.Equal(t, "ab", has())
	c.now = c.now.Add(time.Minute)
	keep(t, s, "c", "1", "1234567")
	require.Equal(t, "ac", has())
	_, err := s.Put("d", "1", "a.txt", "text/plain", make([]byte, 21))
	require.ErrorIs(t, err, ErrTooMuch)
	require.ErrorContains(t, err, "evidence.maxTotal")

	keep(t, s, "c", "2", "1")
	c.now = c.now.Add(time.Hour + time.Second)
	s.Prune()
	require.Empty(t, has(), "all of it is too old")
	require.Zero(t, s.total)
	left, err := os.ReadDir(s.Dir())
	require.NoError(t, err)
	require.Empty(t, left)
}

// What was there before counts, what was left by a crash too.
func TestStoreMeasures(t *testing.T) {
	s := open(t, Options{})
	keep(t, s, incident, "1", "123456")
	_, err := s.Put(incident, "2", "a.txt", "text/plain", []byte("1234"))
	require.NoError(t, err)
	before := s.total
	require.NoError(t, s.Close())
	again := open(t, Options{Dir: s.Dir()})
	info, err := os.Stat(filepath.Join(s.Dir(), Folder(incident), indexFile))
	require.NoError(t, err)
	require.Equal(t, before+info.Size(), again.total)
	require.NoError(t, again.Close())
	later := &clock{now: time.Now().Add(31 * 24 * time.Hour)}
	require.Zero(t, open(t, Options{Dir: s.Dir(), Now: later.Now}).total, "it is too old")
}

func TestStoreAtOnce(t *testing.T) {
	s := open(t, Options{MaxTotal: 4000})
	var all sync.WaitGroup
	for _, id := range []string{"a", "b", "c", "d"} {
		for _, key := range []string{"1", "2"} {
			all.Go(func() {
				for range 20 {
					item, err := s.Put(id, key, "a.txt", "text/plain", make([]byte, 500))
					if errors.Is(err, ErrTooMuch) {
						continue // the others are being written
					}
					assert.NoError(t, err)
					_, err = s.Finish(id, key, []Item{item})
					assert.NoError(t, err)
					s.Prune()
				}
			})
		}
	}
	all.Wait()
	require.LessOrEqual(t, s.total, int64(4000))
}

func TestStoreThatCannotBe(t *testing.T) {
	_, err := Open(Options{})
	require.ErrorContains(t, err, "no folder")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = Open(Options{Dir: file})
	require.ErrorContains(t, err, "evidence.dir")
}
