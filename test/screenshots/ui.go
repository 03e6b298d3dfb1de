package main

import (
	"fmt"
	"net/url"
	"path/filepath"
)

// column is a column of the Temporal UI's table of workflows, as the UI keeps
// it in the browser's local storage.
type column struct {
	Label  string `json:"label"`
	Pinned bool   `json:"pinned"`
}

// columns answer an operator's first questions: which VM, where, what is wrong,
// how far is it, and is it my turn.
func columns() []column {
	out := []column{{Label: "Status", Pinned: true}, {Label: "Workflow ID", Pinned: true}}
	for _, label := range []string{"VM", "Host", "FaultKind", "Stage", "Outcome", "NeedsApproval", "Execution Duration"} {
		out = append(out, column{Label: label})
	}
	return out
}

// setup puts into the browser's local storage, before the UI looks there, which
// columns the table has, and that the list of saved queries is folded away.
func setup(namespace string) string {
	chosen := quote(map[string][]column{namespace: columns()})
	return fmt.Sprintf(`localStorage.setItem('namespace-workflow-table-columns', %s);
		localStorage.setItem('savedQueryNavOpen', 'false');`, quote(chosen))
}

// incidentsView is the list of incidents, as the UI filters it.
func incidentsView(ui, namespace string, rows []string) view {
	return view{
		url: fmt.Sprintf("%s/namespaces/%s/workflows?query=%s", ui, namespace, url.QueryEscape(`WorkflowType="RecoverVM"`)),
		state: fmt.Sprintf(`(() => {
			const table = document.querySelector('table');
			if (!table) return '';
			const text = table.innerText;
			return %s.every(want => text.includes(want)) ? text : '';
		})()`, quote(rows)),
		bottom: `document.querySelector('table').getBoundingClientRect().bottom + 72`,
	}
}

// incidentView is the page of one incident on which the UI shows what the
// workflow says about itself.
func incidentView(ui, namespace, id, runID string, texts ...string) view {
	return view{
		url: fmt.Sprintf("%s/namespaces/%s/workflows/%s/%s/user-metadata", ui, namespace, url.PathEscape(id), runID),
		state: fmt.Sprintf(`(() => {
			const frames = [...document.querySelectorAll('iframe[title=output]')];
			const shown = frames.filter(f => f.contentDocument?.readyState === 'complete');
			const text = shown.map(f => f.contentDocument.body.innerText + f.height).join('\n');
			return shown.length >= 3 && %s.every(want => text.includes(want)) ? text : '';
		})()`, quote(texts)),
		bottom: `Math.max(
			...[...document.querySelectorAll('iframe[title=output]')].map(e => e.getBoundingClientRect().bottom),
			...[...document.querySelectorAll('[data-testid=user-metadata-summary-heading]')]
				.map(e => e.parentElement.parentElement.getBoundingClientRect().bottom)) + 8`,
	}
}

// reportView is a page that `holdfast incident report` has written, down to the first
// screen in its evidence: all of it would be a tall picture.
func reportView(file string) (view, error) {
	path, err := filepath.Abs(file)
	return view{
		url:    (&url.URL{Scheme: "file", Path: path}).String(),
		state:  `document.querySelector("h1") ? document.body.innerText : ""`,
		bottom: `document.querySelector("#evidence img").getBoundingClientRect().bottom + window.scrollY + 24`,
	}, err
}
