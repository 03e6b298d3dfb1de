package report

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"image"
	_ "image/jpeg" // what screenshots may come as
	_ "image/png"
	"slices"
	"strings"

	"holdfast/internal/contract"
)

// Limits of what a page holds, in bytes. What is larger is listed only.
const (
	// MaxPiece is the largest piece that is worth fetching for a page.
	MaxPiece = 4 << 20
	maxTail  = 64 << 10 // of a text, its end
	maxPage  = 24 << 20 // of all pictures
	// maxPixels of a picture, which is more than any guest's screen has.
	maxPixels = 64 << 20
)

// Wanted lists the pieces of an incident's evidence that a page would show.
func Wanted(inc contract.Incident) []Piece {
	var out []Piece
	for i, set := range inc.Evidence {
		for j, item := range set.Items {
			if item.Error == "" && !item.OnHost && item.SHA256 != "" && item.Bytes > 0 && item.Bytes <= MaxPiece && (isPicture(item) || isText(item)) {
				out = append(out, Piece{i, j})
			}
		}
	}
	return out
}

func isPicture(item contract.EvidenceItem) bool { return strings.HasPrefix(item.MIME, "image/") }

func isText(item contract.EvidenceItem) bool {
	return strings.HasPrefix(item.MIME, "text/") || strings.HasPrefix(item.MIME, "application/json")
}

type evidenceSet struct {
	Title, Where, Error string
	Pictures            []picture
	Texts               []tail
	Items               []evidenceItem
}

type picture struct {
	Name          string
	Source        template.URL
	Width, Height int
}

type tail struct{ Name, Size, Text string }

type evidenceItem struct{ Name, Size, SHA256, What string }

// evidence is what there is, and what of it the page shows.
func (p Page) evidence(inc contract.Incident) []evidenceSet {
	room := maxPage
	sets := make([]evidenceSet, len(inc.Evidence))
	for i, set := range inc.Evidence {
		out := evidenceSet{Title: set.Key, Error: set.Error, Where: fmt.Sprintf("host %s, %s, kept by worker %s", orNone(set.Host), after(inc, set.At), orNone(set.Worker))}
		if set.Before != "" {
			out.Title = fmt.Sprintf("Before the %s (%s)", set.Before, set.Key)
		}
		for j, item := range set.Items {
			row := evidenceItem{Name: item.Name, Size: size(item.Bytes), SHA256: item.SHA256}
			content, fetched := p.Evidence[Piece{i, j}]
			switch {
			case item.Error != "":
				row.What = "not had: " + item.Error
			case item.OnHost:
				row.What = fmt.Sprintf("on host %s: %s", set.Host, item.Path)
			case fetched && content.Error != "":
				row.What = "could not be fetched: " + plain(content.Error)
			case !fetched:
				row.What = "not on this page"
			default:
				row.What = out.show(item, content.Data, &room)
			}
			out.Items = append(out.Items, row)
		}
		sets[i] = out
	}
	return sets
}

// show puts a piece on the page, and says what became of it.
func (s *evidenceSet) show(item contract.EvidenceItem, data []byte, room *int) string {
	if isText(item) {
		size, text := size(int64(len(data))), data
		if len(text) > maxTail {
			text = text[len(text)-maxTail:]
			size = fmt.Sprintf("the last %d KiB of %s", maxTail>>10, size)
		}
		s.Texts = append(s.Texts, tail{item.Name, size, plain(string(text))})
		return "above, as text"
	}
	data, kind, err := shown(data)
	if err != nil {
		return "not on this page: " + err.Error()
	}
	if len(data) > *room {
		return "not on this page, which would be too large"
	}
	*room -= len(data)
	c, _, _ := image.DecodeConfig(bytes.NewReader(data)) // shown has read it
	source := "data:image/" + kind + ";base64," + base64.StdEncoding.EncodeToString(data)
	//nolint:gosec // base64 of what is known to be a picture
	s.Pictures = append(s.Pictures, picture{item.Name, template.URL(source), c.Width, c.Height})
	return "above"
}

// shown is a picture in a form that browsers know. What it is decides what it
// holds, not what it was called.
func shown(data []byte) ([]byte, string, error) {
	if bytes.HasPrefix(data, []byte("P6")) {
		var err error
		if data, err = fromPPM(data); err != nil {
			return nil, "", err
		}
	}
	c, kind, err := image.DecodeConfig(bytes.NewReader(data))
	switch {
	case err != nil || !slices.Contains([]string{"png", "jpeg"}, kind):
		return nil, "", errors.New("it is no picture that browsers show")
	case c.Width < 1 || c.Height < 1 || c.Width > maxPixels/c.Height:
		return nil, "", fmt.Errorf("its size of %d x %d makes no sense", c.Width, c.Height)
	}
	return data, kind, nil
}

func size(bytes int64) string {
	switch {
	case bytes == 0:
		return ""
	case bytes < 10<<10:
		return fmt.Sprintf("%d B", bytes)
	case bytes < 10<<20:
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
