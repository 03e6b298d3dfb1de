//go:build life

package life

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// seedEnv plays another day than the usual one.
const seedEnv = "LIFE_SEED"

func seed(t *testing.T) uint64 {
	text := os.Getenv(seedEnv)
	if text == "" {
		return 1
	}
	n, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, seedEnv)
	return n
}

const (
	hosts     = 200
	vms       = 4000
	faults    = 300
	dayLength = 24 * 3600
)

// TestNormalDay plays a day in which nothing breaks.
func TestNormalDay(t *testing.T) {
	t.Parallel()
	j := day(t, 0)
	require.Empty(t, j.False, "faults that were none")
}

// TestDayWithFaults plays the same day with faults in it.
func TestDayWithFaults(t *testing.T) {
	t.Parallel()
	j := day(t, faults)
	require.Empty(t, j.False)
	require.Equal(t, faults, j.Found)
}

func day(t *testing.T, broken int) *Judge {
	s := seed(t)
	began := time.Now()
	w := New(s, hosts, vms)
	j := w.Hold()
	w.Live()
	w.Break(broken)
	w.Day(dayLength)
	fmt.Printf("a day of %d hosts and %d VMs, seed %d (%s=%d plays it again), in %s: of %d listings and samples %d were lost\n",
		hosts, vms, s, seedEnv, s, time.Since(began).Round(time.Second), w.calls, w.lost)
	for _, what := range sorted(w.Counts) {
		fmt.Printf("  %5d %s\n", w.Counts[what], what)
	}
	for _, f := range j.False {
		fmt.Println("  !", f)
	}
	fmt.Printf("  faults injected %d, found %d; brought by those %d; false %d; alarms of load that was there %d\n",
		broken, j.Found, j.Followed, len(j.False)-j.Missed, j.Alarms)
	return j
}
