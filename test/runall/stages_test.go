package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSelectStages(t *testing.T) {
	for _, c := range []struct {
		only, run string
		want      []string
	}{
		{"", "", stageNames()},
		{"lab,lint", "", []string{"lint", "lab"}},
		{"", "TestX", []string{"unit", "lab"}},
		{"lab", "TestX", []string{"lab"}},
	} {
		got, err := selectStages(c.only, c.run)
		require.NoError(t, err)
		var names []string
		for _, s := range got {
			names = append(names, s.name)
		}
		require.Equal(t, c.want, names, "-only=%s -run=%s", c.only, c.run)
	}

	_, err := selectStages("unti", "")
	require.ErrorContains(t, err, `no stage is called "unti": choose from lint,`)
	_, err = selectStages("lint", "TestX")
	require.ErrorContains(t, err, "leave no stage")
}

func TestGrownFindsPackagesWithLabTests(t *testing.T) {
	without := []testFiles{
		{ImportPath: "plain", TestGoFiles: []string{"a_test.go"}},
		{ImportPath: "more", TestGoFiles: []string{"a_test.go"}},
	}
	with := []testFiles{
		{ImportPath: "plain", TestGoFiles: []string{"a_test.go"}},
		{ImportPath: "more", TestGoFiles: []string{"a_test.go"}, XTestGoFiles: []string{"lab_test.go"}},
		{ImportPath: "hidden", TestGoFiles: []string{"lab_test.go"}},
	}
	require.Equal(t, []string{"more", "hidden"}, grown(without, with))
}

func TestCheckStopsAtTheFirstFailure(t *testing.T) {
	fails := check(command{argv: []string{"false"}}, command{argv: []string{"sh", "-c", "exit 3"}})
	require.Equal(t, []string{"lint: false: exit status 1"}, said(fails(t.Context(), stageInput{name: "lint"})))

	passes := check(command{argv: []string{"true"}}, command{argv: []string{"true"}})
	require.Equal(t, result{passed: 1}, passes(t.Context(), stageInput{name: "lint"}))
}
