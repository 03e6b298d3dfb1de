package config

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// boolean reads true or false. YAML's other words for them are too easily meant
// as something else.
func (d *decoder) boolean(to *bool) reader {
	return d.scalar(func(s string) (string, string) {
		if s != "true" && s != "false" {
			return quote(s) + " is neither true nor false", ""
		}
		*to = s == "true"
		return "", ""
	})
}

// oneOf reads one of a few words.
func oneOf[T ~string](d *decoder, to *T, known ...T) reader {
	words := make([]string, len(known))
	for i, k := range known {
		words[i] = string(k)
	}
	return d.scalar(func(s string) (string, string) {
		if !slices.Contains(words, s) {
			return quote(s) + " is not known", didYouMean(s, words)
		}
		*to = T(s)
		return "", ""
	})
}

// given reads a value that may be left out, and remembers that it was not.
func given[T any](to **T, read func(*T) reader) reader {
	return func(n *yaml.Node, path string) {
		*to = new(T)
		read(*to)(n, path)
	}
}

// words reads a list of values that each pass the check, in place of the list
// that was there.
func (d *decoder) words(to *[]string, check func(string) (message, hint string)) reader {
	read := d.sequence(func() reader {
		*to = append(*to, "")
		return d.text(&(*to)[len(*to)-1], check)
	})
	return func(n *yaml.Node, path string) {
		if !isNull(n) {
			*to = nil
		}
		read(n, path)
	}
}

// entries reads a mapping whose keys are the file's own. A key that the check
// refuses is reported at what it is in.
func (d *decoder) entries(check func(key string) (message, hint string), read func(key string) reader) reader {
	return func(n *yaml.Node, path string) {
		d.lines[path] = n
		if isNull(n) {
			return
		}
		if n.Kind != yaml.MappingNode {
			d.problem(n, path, "write fields under it", "is %s, not a mapping", kind(n))
			return
		}
		first := make(map[string]int, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if key.Kind != yaml.ScalarNode {
				d.problem(key, path, "a field's name is a plain word", "has %s for a field's name", kind(key))
				continue
			}
			sub := path + "." + key.Value
			if message, hint := check(key.Value); message != "" {
				d.problem(key, path, hint, "%s", message)
				continue
			}
			if line, twice := first[key.Value]; twice {
				d.problem(key, sub, "keep one of the two", "is already set in line %d", line)
				continue
			}
			first[key.Value], d.lines[sub] = key.Line, value
			read(key.Value)(value, sub)
		}
	}
}

// labels reads names and values that each pass the check.
func (d *decoder) labels(to *map[string]string, check func(name, value string) (message, hint string)) reader {
	name := func(key string) (string, string) { return check(key, "x") }
	return d.entries(name, func(key string) reader {
		return d.scalar(func(s string) (string, string) {
			if *to == nil {
				*to = make(map[string]string)
			}
			(*to)[key] = s
			return check(key, s)
		})
	})
}

// Bytes is a size. In a site file it has a unit: 512KiB, 1MiB.
type Bytes int64

// MarshalYAML implements [yaml.Marshaler].
func (b Bytes) MarshalYAML() (any, error) { return b.String(), nil }

// String writes the size in the largest unit that leaves it whole.
func (b Bytes) String() string {
	switch {
	case b != 0 && b%(1<<30) == 0:
		return strconv.FormatInt(int64(b)>>30, 10) + "GiB"
	case b != 0 && b%(1<<20) == 0:
		return strconv.FormatInt(int64(b)>>20, 10) + "MiB"
	case b != 0 && b%(1<<10) == 0:
		return strconv.FormatInt(int64(b)>>10, 10) + "KiB"
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

var sizePattern = regexp.MustCompile(`\A([0-9]{1,9})(B|KiB|MiB|GiB)\z`)

// size reads a size with its unit, from least to most.
func (d *decoder) size(to *Bytes, least, most Bytes) reader {
	return d.scalar(func(s string) (string, string) {
		m := sizePattern.FindStringSubmatch(s)
		if m == nil {
			if bareNumber.MatchString(s) {
				return quote(s) + " has no unit", "add one, as in 512KiB or 1MiB"
			}
			return quote(s) + " is not a size", "write it like 512KiB or 1MiB"
		}
		n, _ := strconv.ParseInt(m[1], 10, 64) // digits by the pattern, and few
		v := Bytes(n) * map[string]Bytes{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[m[2]]
		if v < least || v > most {
			return quote(s) + " is out of range", fmt.Sprintf("allowed: %s to %s", least, most)
		}
		*to = v
		return "", ""
	})
}

// checkFolder wants the path of a folder, whatever folder the program is started in.
func checkFolder(s string) (message, hint string) {
	if !strings.HasPrefix(s, "/") || path.Clean(s) != s || s == "/" {
		return quote(s) + " is not the whole path of a folder", "begin it with /, and end it without"
	}
	return "", ""
}

// checkFile wants the path of a file, whatever folder the program is started in.
func checkFile(s string) (message, hint string) {
	if !strings.HasPrefix(s, "/") || strings.HasSuffix(s, "/") {
		return quote(s) + " is not the whole path of a file", "begin it with /"
	}
	return "", ""
}
