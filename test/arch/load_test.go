package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	module = "holdfast"
	// top is the repository, from this directory.
	top = "../.."
)

// pkg is a package of the module, as `go list` describes it.
type pkg struct {
	ImportPath string
	Name       string
	Imports    []string // of its files that are not tests
	Deps       []string // all it reaches, by Imports and theirs
	Standard   bool
}

// list returns the packages that match the pattern, with files of every build
// tag that the project has, and all the packages that they reach. env is added
// to the environment.
func list(t *testing.T, pattern string, env ...string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps",
		"-tags=libvirt_dlopen,lab,bench,life", "-json=ImportPath,Name,Imports,Deps,Standard", pattern)
	cmd.Dir = top
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "go list: %s", &stderr)

	var all []pkg
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, p)
	}
}

// ours are the packages of this module among all.
func ours(all []pkg) []pkg {
	return slices.DeleteFunc(slices.Clone(all), func(p pkg) bool { return !within(p.ImportPath, module) })
}

// within reports whether path is the package or lies under it.
func within(path, pkg string) bool {
	return path == pkg || strings.HasPrefix(path, pkg+"/")
}

func withinAny(path string, pkgs []string) bool {
	return slices.ContainsFunc(pkgs, func(p string) bool { return within(path, p) })
}

// sources reads the files of the repository that people write, by their path
// from its top. What is hidden, built or recorded is left out, but for CI.
func sources(t *testing.T, want func(path string) bool) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path, err := filepath.Rel(top, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			hidden := strings.HasPrefix(d.Name(), ".") && path != "." && path != ".ci"
			if hidden || slices.Contains([]string{"bin", "build", "testdata"}, d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if d.Type().IsRegular() && want(path) {
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			found[path] = string(content)
		}
		return nil
	}))
	require.NotEmpty(t, found, "no file was looked at")
	return found
}

func goFiles(t *testing.T) map[string]string {
	t.Helper()
	return sources(t, func(path string) bool { return filepath.Ext(path) == ".go" })
}
