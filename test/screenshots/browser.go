package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

const (
	// width of every picture, in pixels.
	width = 1400
	// biggest is what a picture in the documentation may take, in bytes.
	biggest = 400 << 10
	// patience is how long a page may take to show what it should.
	patience = 2 * time.Minute
	// stillFor is how long a page must not have changed before its picture is
	// taken: the Temporal UI loads and sizes its parts one after the other.
	stillFor = 1500 * time.Millisecond
)

// browser is a Chromium without a window and with a profile of its own.
type browser struct {
	ctx   context.Context
	close func()
}

// openBrowser starts Chromium. setup is JavaScript that runs in each page
// before the page's own.
func openBrowser(ctx context.Context, setup string) (*browser, error) {
	profile, err := os.MkdirTemp("", "holdfast-chromium-")
	if err != nil {
		return nil, err
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.UserDataDir(profile), chromedp.Env("TMPDIR=" + profile), // all that it writes, to be removed
		chromedp.WindowSize(width, 1000), chromedp.WSURLReadTimeout(time.Minute),
	}
	for _, flag := range []string{
		"headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "no-default-browser-check",
		"disable-background-networking", "disable-component-update", "disable-sync", "disable-extensions",
		"disable-default-apps", "disable-dev-shm-usage", "hide-scrollbars",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	tab, _ := chromedp.NewContext(ctx)
	b := &browser{ctx: tab, close: func() {
		_ = chromedp.Cancel(tab) // closes it in order; stop kills it otherwise
		stop()
		_ = os.RemoveAll(profile)
	}}
	_, err = chromedp.Call(tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: setup})
	if err != nil {
		b.close()
		return nil, fmt.Errorf("chromium does not start: %w; deploy/install-packages.sh deploy/packages-screenshots.txt installs it", err)
	}
	return b, nil
}

// view is a page to take a picture of.
type view struct {
	url string
	// state is a JavaScript expression for the text that the page shows, or ""
	// while it does not show it yet. The picture is taken when it is still.
	state string
	// bottom is a JavaScript expression for the height that the page needs, in pixels.
	bottom string
}

// shoot takes a picture of a page and writes it to a file.
func (b *browser) shoot(v view, file string) error {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	// High enough for everything at first: what is not in view is not always loaded.
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 2400), chromedp.Navigate(v.url)); err != nil {
		return fmt.Errorf("%s: %w", v.url, err)
	}
	if err := settle(ctx, v.state); err != nil {
		return fmt.Errorf("%s: %w", v.url, err)
	}
	height, err := chromedp.Run(ctx, chromedp.Evaluate[float64](v.bottom))
	if err != nil {
		return fmt.Errorf("%s: how high it is: %w", v.url, err)
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, int64(math.Ceil(height)))); err != nil {
		return fmt.Errorf("%s: %w", v.url, err)
	}
	if err := settle(ctx, v.state); err != nil {
		return fmt.Errorf("%s: %w", v.url, err)
	}
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		return fmt.Errorf("%s: %w", v.url, err)
	}
	if len(picture) > biggest {
		return fmt.Errorf("%s: the picture takes %d KiB, more than %d", v.url, len(picture)>>10, biggest>>10)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, picture, 0o644)
}

// settle waits until the page shows something and has not changed for a while.
func settle(ctx context.Context, state string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last string
	since := time.Now()
	for {
		now, err := chromedp.Run(ctx, chromedp.Evaluate[string](state))
		if err != nil {
			return unsettled(last, err)
		}
		if now != last {
			last, since = now, time.Now()
		}
		if last != "" && time.Since(since) >= stillFor {
			return nil
		}
		select {
		case <-ctx.Done():
			return unsettled(last, ctx.Err())
		case <-tick.C:
		}
	}
}

func unsettled(last string, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if last == "" {
		return fmt.Errorf("does not show what it should within %s", patience)
	}
	return fmt.Errorf("still changes after %s", patience)
}

// quote makes a JavaScript literal.
func quote(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and columns always marshal
	}
	return string(text)
}
