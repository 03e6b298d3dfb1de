package main

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// printer writes what a person reads.
type printer struct {
	w      io.Writer
	colour bool
	mu     *sync.Mutex // for progress, which comes from several goroutines
}

// newPrinter colours what it prints on a terminal, unless NO_COLOR says not to.
func newPrinter(f *os.File) printer {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return printer{w: f, colour: err == nil && os.Getenv("NO_COLOR") == "", mu: new(sync.Mutex)}
}

// Styles, as a terminal is told of them.
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
)

func (p printer) style(style, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (p printer) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format+"\n", args...)
}

func (p printer) title(text string)               { p.line("%s", p.style(bold, text)) }
func (p printer) step(format string, args ...any) { p.line("  "+format, args...) }

// progress prints what is being prepared.
func (p printer) progress(text string) { p.line("  %s", p.style(dim, text)) }

func (p printer) failure(err error) {
	p.line("%s %s", p.style(red, "demo:"), err)
}

// timeline prints a repair, a line for each thing that happened.
func (p printer) timeline(r repair) {
	p.line("\n%s", p.style(bold, fmt.Sprintf("From the death of %s on host %s to its repair", r.vm, r.host)))
	p.line("  %s", p.style(dim, "    ms"))
	for _, m := range r.moments {
		p.line("  %s  %-20s %s", p.style(bold, fmt.Sprintf("%6d", millis(m.at.Sub(r.killed)))), m.what, p.style(dim, m.note))
	}
	p.line("\n  Running again %s ms after it was killed, %s ms after that was seen; the bare `virsh start %s` takes %s ms.",
		p.number(r.started.Sub(r.killed)), p.number(r.started.Sub(r.seen)), r.vm, p.number(r.alone))
}

func (p printer) number(d time.Duration) string { return p.style(bold, fmt.Sprint(millis(d))) }

func millis(d time.Duration) int64 { return d.Round(time.Millisecond).Milliseconds() }

// verdicts prints what was checked.
func (p printer) verdicts(title string, list []verdict) {
	p.line("\n%s", p.style(bold, title))
	for _, v := range list {
		mark := p.style(green, "ok  ")
		if !v.ok {
			mark = p.style(red, "BAD ")
		}
		p.line("  %s%s", mark, v.text)
	}
}

// pointers are where to look further.
type pointers struct {
	page, list          string // in the Temporal UI
	temporal, site, lab string
	vm, pid, log        string
}

func (p printer) further(to pointers) {
	p.line("\n%s", p.style(bold, "All of it goes on running. Look further:"))
	p.line("  this incident   %s", to.page)
	p.line("  all incidents   %s", to.list)
	p.line("  Holdfast's log  %s (process %s)\n", to.log, to.pid)
	for _, command := range to.commands() {
		p.line("  %s", command)
	}
}

// commands are what to type next, in the order in which it makes sense.
func (to pointers) commands() []string {
	return []string{
		fmt.Sprintf("export TEMPORAL_ADDRESS=%s HOLDFAST_SITE=%s", to.temporal, to.site),
		"bin/holdfast incident show " + to.vm,
		"bin/holdfast vm list",
		"bin/lab status --name " + to.lab,
		fmt.Sprintf("bin/lab kill VM2 --name %s && bin/holdfast incident watch VM2 --wait 30s", to.lab),
		"make demo-down                      # ends and removes it",
	}
}

// incidentPage is where the Temporal UI shows what an incident says of itself.
func incidentPage(ui, id, runID string) string {
	return fmt.Sprintf("http://%s/namespaces/default/workflows/%s/%s/user-metadata", ui, url.PathEscape(id), runID)
}

// incidentsPage is where it lists them.
func incidentsPage(ui string) string {
	query := strings.ReplaceAll(url.QueryEscape(`WorkflowType="RecoverVM"`), "+", "%20")
	return fmt.Sprintf("http://%s/namespaces/default/workflows?query=%s", ui, query)
}
