package in

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
)

// mutator makes payloads that are almost right. The same seed makes the same.
type mutator struct {
	r     *rand.Rand
	seeds [][]byte
}

// next is a payload with one to four changes. Half of them are still JSON, so
// that what looks at the alerts gets its share.
func (m mutator) next() []byte {
	body := slices.Clone(m.seeds[m.r.IntN(len(m.seeds))])
	text := m.r.IntN(2) == 0
	for range 1 + m.r.IntN(4) {
		if text && m.r.IntN(2) == 0 {
			body = m.bytes(body)
		} else {
			body = m.structure(body)
		}
	}
	return body
}

// tokens are what parsers trip over.
var tokens = []string{
	"null", "true", "{}", "[]", `""`, "[", "{", "]", "}", `"`, `\`, ",", ":", "-", "1e999", "-0", "0x10", "NaN", "1.5", "\x00", "\xff", "\xed\xa0\x80",
	`"\ud800"`, `"\u0000"`, "\ufeff", "/*x*/", "'web1'", `"vm":"web1"`, `"labels":{"vm":"web1"}`, `"LABELS":{"vm":"web1"}`, `"version":"4"`, `"version":4`,
	`"status":"firing"`, `"endsAt":"9999-12-31T23:59:59Z"`, `"startsAt":"0000-00-00T00:00:00Z"`, `"startsAt":1`, "2026-02-30T00:00:00Z", "web1", "kvm1", "instance",
}

// bytes changes the text, whatever it means.
func (m mutator) bytes(body []byte) []byte {
	if len(body) == 0 {
		return []byte(tokens[m.r.IntN(len(tokens))])
	}
	from := m.r.IntN(len(body))
	to := min(len(body), from+1+m.r.IntN(1+m.r.IntN(40)))
	switch m.r.IntN(8) {
	case 0:
		body[from] ^= 1 << m.r.IntN(8)
		return body
	case 1:
		return slices.Delete(body, from, to)
	case 2:
		return slices.Insert(body, from, body[from:to]...)
	case 3:
		return body[:from]
	case 4:
		return slices.Replace(body, from, to, []byte(tokens[m.r.IntN(len(tokens))])...)
	case 5:
		other := m.seeds[m.r.IntN(len(m.seeds))]
		return append(body[:from:from], other[m.r.IntN(len(other)):]...)
	case 6:
		return append(bytes.Repeat([]byte("["), 1+m.r.IntN(40)), body...)
	default:
		if m.r.IntN(50) == 0 { // rarely, for it is slow
			return bytes.Repeat(body, 1+(2<<20)/len(body))
		}
		return slices.Insert(body, from, []byte(tokens[m.r.IntN(len(tokens))])...)
	}
}

// structure changes what the text means, and leaves it JSON. A text that is
// none is left as it is.
func (m mutator) structure(body []byte) []byte {
	var top any
	if json.Unmarshal(body, &top) != nil {
		return body
	}
	changed, err := json.Marshal(m.change(top))
	if err != nil {
		return body
	}
	return changed
}

// change goes down to some value and puts another there.
func (m mutator) change(v any) any {
	if m.r.IntN(5) == 0 {
		return m.odd(v)
	}
	switch v := v.(type) {
	case []any:
		if len(v) > 0 {
			i := m.r.IntN(len(v))
			v[i] = m.change(v[i])
			return v
		}
	case map[string]any:
		if len(v) > 0 {
			names := make([]string, 0, len(v))
			for name := range v {
				names = append(names, name)
			}
			slices.Sort(names)
			m.member(v, names[m.r.IntN(len(names))])
			return v
		}
	}
	return m.odd(v)
}

func (m mutator) member(object map[string]any, name string) {
	switch m.r.IntN(6) {
	case 0:
		delete(object, name)
	case 1:
		object[strings.ToUpper(name)] = object[name]
		delete(object, name)
	case 2:
		object[name+"\u200b"] = object[name]
	default:
		object[name] = m.change(object[name])
	}
}

func (m mutator) odd(v any) any {
	if text, ok := v.(string); ok && m.r.IntN(2) == 0 { // another text in its place leaves the form as it was
		return []string{"", text + "x", strings.ToUpper(text), "web2:9100", "kvm2", "web1\n", "NodeDown"}[m.r.IntN(7)]
	}
	switch m.r.IntN(10) {
	case 0:
		return nil
	case 1:
		return []any{v}
	case 2:
		return map[string]any{"labels": v}
	case 3:
		return m.r.Int64()
	case 4:
		return strings.Repeat("x", m.r.IntN(5000))
	case 5:
		return []any{v, v}
	case 6:
		return m.r.IntN(2) == 0
	case 7:
		return "web1"
	case 8:
		deep := v
		for range m.r.IntN(30) {
			deep = []any{deep}
		}
		return deep
	default:
		return tokens[m.r.IntN(len(tokens))]
	}
}
