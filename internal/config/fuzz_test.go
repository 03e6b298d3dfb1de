package config

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzParse: whatever the file holds, Parse returns a site or problems that each
// name a line of it, and a site that it returns can be written and read again.
func FuzzParse(f *testing.F) {
	example, err := os.ReadFile(examplePath)
	require.NoError(f, err)
	f.Add(example)
	f.Add(wholeExample(f))
	f.Add([]byte(everything))
	for _, seed := range []string{
		minimal,
		"hosts: [{name: A, uri: 'test:///default'}, {name: A, uri: 'test:///default'}]\nsite: &a x\nlisten: {worker: *a}\n",
		"? {a: b}\n: [c]\n<<: {monitor: {sweep: 10}}\n",
		"hosts:\n- name: [\n", "a: *b\n", "x: &a [*a]\n", "--- a\n--- b\n", "%YAML 3.0\n---\n", "\xff\xfea\x00", "!!binary x: !<!> y\n",
		minimal + "recovery: {maxFailures: 1e3, backoff: {initial: 1h, max: 100ms, factor: .inf}}\n",
		minimal + "monitor: ~\nrecovery: \"\"\nlisten: |\n  worker: x\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		site, err := Parse("fuzz.yaml", data)
		if err == nil {
			requireRoundTrip(t, site)
			return
		}
		require.Nil(t, site)
		var problems Errors
		require.ErrorAs(t, err, &problems)
		require.NotEmpty(t, problems)
		last := 0
		for _, p := range problems {
			require.Equal(t, "fuzz.yaml", p.File)
			require.NotEmpty(t, p.Message)
			require.GreaterOrEqual(t, p.Line, max(last, 1), "%v", p)
			require.LessOrEqual(t, p.Line, 1+len(data), "%v", p)
			last = p.Line
		}
	})
}
