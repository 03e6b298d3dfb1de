package annotation

import (
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Element writes our element, the same text for the same annotation. It is empty
// for an empty annotation, which takes the element away. Its error joins a
// [Problem] for everything that [Parse] would not read again.
func Element(a Annotation) (string, error) {
	if found := a.problems(); len(found) > 0 {
		errs := make([]error, len(found))
		for i, p := range found {
			errs[i] = p
		}
		return "", fmt.Errorf("annotation: %w", errors.Join(errs...))
	}
	if a.Empty() {
		return "", nil
	}
	w := &writer{}
	w.WriteString(`<holdfast:vm xmlns:holdfast="` + Namespace + `"`)
	w.attr("mode", a.Mode)
	if a.AgentExpected {
		w.attr("agent", agentExpected)
	}
	w.attr("hold", a.Held)
	w.WriteString(">")
	for _, name := range slices.Sorted(maps.Keys(a.Labels)) {
		w.WriteString("<holdfast:label")
		w.attr("name", name)
		w.attr("value", a.Labels[name])
		w.WriteString("/>")
	}
	for _, name := range slices.Sorted(maps.Keys(a.Overrides)) {
		w.WriteString("<holdfast:rule")
		w.attr("name", name)
		for _, f := range fields {
			if value, has := get(a.Overrides[name], f); has {
				w.attr(f, value)
			}
		}
		w.WriteString("/>")
	}
	w.WriteString("</holdfast:vm>")
	return w.String(), nil
}

type writer struct{ strings.Builder }

// attr writes an attribute that has a value.
func (w *writer) attr(name, value string) {
	if value == "" {
		return
	}
	w.WriteString(" " + name + `="`)
	_ = xml.EscapeText(w, []byte(value)) // a Builder never fails
	w.WriteString(`"`)
}
