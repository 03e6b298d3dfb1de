package hosttest

import (
	"path"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"holdfast/internal/hypervisor"
)

// oneMark is a mark that nobody else has.
func oneMark() string { return hypervisor.MarkPrefix + uuid.NewString() }

func (s *suite) marked(t *testing.T, h hypervisor.Host, folder, mark string) bool {
	t.Helper()
	there, err := h.Marked(s.ctx, folder, mark)
	require.NoError(t, err)
	return there
}

func (s *suite) unmark(t *testing.T, h hypervisor.Host, folder, mark string) {
	t.Helper()
	require.NoError(t, h.Unmark(s.ctx, folder, mark))
	require.False(t, s.marked(t, h, folder, mark))
	require.NoError(t, h.Unmark(s.ctx, folder, mark), "it is gone, and that is no error")
}

func (s *suite) folders(t *testing.T) (shared, own string) {
	t.Helper()
	require.NotEmpty(t, s.SharedFolder, "the fixture has no SharedFolder: give it one, this test cannot do without")
	require.NotEmpty(t, s.OwnFolder, "the fixture has no OwnFolder: give it one, this test cannot do without")
	return s.SharedFolder, s.OwnFolder
}

// A mark is where the storage is, and nowhere else.
func testMarks(t *testing.T, s *suite) {
	shared, own := s.folders(t)
	pools := s.pools(t)
	for folder, same := range map[string]bool{shared: true, own: false} {
		mark := oneMark()
		require.False(t, s.marked(t, s.Host, folder, mark))
		require.NoError(t, s.Host.Mark(s.ctx, folder, mark))
		require.ErrorIs(t, s.Host.Mark(s.ctx, folder, mark), hypervisor.ErrExists)
		require.True(t, s.marked(t, s.Host, folder, mark))
		require.Equal(t, same, s.marked(t, s.Other, folder, mark), folder)
		require.False(t, s.marked(t, s.Host, folder, oneMark()), "it is that one alone")
		if same {
			require.ErrorIs(t, s.Other.Mark(s.ctx, folder, mark), hypervisor.ErrExists)
			s.unmark(t, s.Other, folder, mark)
		} else {
			require.NoError(t, s.Other.Mark(s.ctx, folder, mark))
			s.unmark(t, s.Other, folder, mark)
			require.True(t, s.marked(t, s.Host, folder, mark))
		}
		s.unmark(t, s.Host, folder, mark)
		require.NoError(t, s.Host.Mark(s.ctx, folder, mark), "it is gone, so it can be made again")
		s.unmark(t, s.Host, folder, mark)
	}
	require.Equal(t, pools, s.pools(t), "no pool is left behind")
}

func testMarksRefused(t *testing.T, s *suite) {
	shared, own := s.folders(t)
	pools := s.pools(t)
	for _, folder := range []string{shared, own} {
		s.unmarkable(t, path.Join(folder, "no-such-folder"), oneMark(), hypervisor.ErrNoPool)
		for _, name := range []string{"", "mark", "x" + oneMark(), oneMark() + "/one", hypervisor.MarkPrefix + "/../one"} {
			s.unmarkable(t, folder, name, nil)
		}
	}
	for _, folder := range []string{"", ".", "images", s.Pool} {
		s.unmarkable(t, folder, oneMark(), nil)
	}
	require.Equal(t, pools, s.pools(t), "no pool is left behind")
}

// unmarkable: none of the three is done; for that reason unless it is nil.
func (s *suite) unmarkable(t *testing.T, folder, mark string, why error) {
	t.Helper()
	_, err := s.Host.Marked(s.ctx, folder, mark)
	for call, err := range map[string]error{
		"Mark": s.Host.Mark(s.ctx, folder, mark), "Marked": err, "Unmark": s.Host.Unmark(s.ctx, folder, mark),
	} {
		require.Error(t, err, "%s %q in %q", call, mark, folder)
		if why != nil {
			require.ErrorIs(t, err, why, "%s %q in %q", call, mark, folder)
		}
	}
}

func testMarksOfLostPool(t *testing.T, s *suite) {
	folder, mark := s.folder(t, s.Pool), oneMark()
	s.stop(t)
	s.losePool(t)
	s.unmarkable(t, folder, mark, hypervisor.ErrNoPool)
	s.pull(t, "RestorePool", s.RestorePool)
	require.NoError(t, s.Host.Mark(s.ctx, folder, mark))
	s.unmark(t, s.Host, folder, mark)
}
