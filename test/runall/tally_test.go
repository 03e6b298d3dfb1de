package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The samples in testdata were recorded with `go test -race -json` of Go 1.26
// from packages made to end in each of these ways; times, addresses and stack
// traces are taken out.
func TestTallyOfRecordedRuns(t *testing.T) {
	for name, want := range map[string]struct {
		passed   int
		failures []string
	}{
		"good": {
			// TestPlain, three of TestTable's, TestParentAlone's one, the fuzz seed, the example.
			passed: 7,
			failures: []string{
				"sample/good TestTable/bad: failed",
				"sample/good TestParentAlone: failed",
				"sample/good TestSkips: skipped, which nothing may be: good_test.go:29: no /dev/kvm on this machine",
				"sample/good TestSkipsBelow/here: skipped, which nothing may be: good_test.go:32: looked",
			},
		},
		"broken":    {failures: []string{"sample/broken: does not build"}},
		"mainfails": {failures: []string{"sample/mainfails: failed outside its tests"}},
		"panics":    {passed: 1, failures: []string{"sample/panics TestX/sub: failed"}},
		"killed":    {passed: 1, failures: []string{"sample/killed TestX/sub: did not finish"}},
		"race":      {passed: 1, failures: []string{"sample/race: failed outside its tests"}},
		"empty":     {},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tallyFile(filepath.Join("testdata", name+".json"))
			require.NoError(t, err)
			require.Equal(t, want.passed, got.passed)
			require.Equal(t, want.failures, said(got))
		})
	}
}

// Packages run side by side, and their events come mixed.
func TestTallyKeepsPackagesApart(t *testing.T) {
	got, err := tally(strings.NewReader(`
{"Action":"run","Package":"a","Test":"TestX"}
{"Action":"run","Package":"b","Test":"TestX"}
{"Action":"fail","Package":"b","Test":"TestX"}
{"Action":"pass","Package":"a","Test":"TestX"}
{"Action":"fail","Package":"b"}
{"Action":"pass","Package":"a"}
`))
	require.NoError(t, err)
	require.Equal(t, 1, got.passed)
	require.Equal(t, []string{"b TestX: failed"}, said(got))
}

// A run that was killed leaves half a line; what came before it still counts.
func TestTallyOfEventsCutShort(t *testing.T) {
	whole, err := os.ReadFile(filepath.Join("testdata", "good.json"))
	require.NoError(t, err)

	got, err := tally(strings.NewReader(string(whole[:len(whole)/2+1])))

	require.ErrorContains(t, err, "cannot be read to their end")
	require.Contains(t, said(got), "sample/good TestTable/bad: did not finish")
}

// A package that was begun and never ended is a failure even if each of its
// tests passed.
func TestTallyOfPackageThatDidNotEnd(t *testing.T) {
	got, err := tally(strings.NewReader(`
{"Action":"start","Package":"a"}
{"Action":"run","Package":"a","Test":"TestX"}
{"Action":"pass","Package":"a","Test":"TestX"}
`))
	require.NoError(t, err)
	require.Equal(t, 1, got.passed)
	// A start event without an end.
	require.Equal(t, []string{"a: did not finish"}, said(got))
}

func said(r result) []string {
	var out []string
	for _, f := range r.failures {
		out = append(out, f.String())
	}
	return out
}
