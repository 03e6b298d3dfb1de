package report

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"holdfast/internal/contract"
	"holdfast/internal/ladder"
	"holdfast/internal/rehearsal/recorded"
)

func screen(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, image.NewRGBA(image.Rect(0, 0, 8, 4))))
	return b.Bytes()
}

func pixmap() []byte {
	data := []byte("P6\n2 1\n255\n")
	return append(data, '\n', ' ', 3, 4, 5, 6) // the first pixel looks like more white space
}

func TestEvidenceOnThePage(t *testing.T) {
	inc := recorded.Panicked()
	item := func(name, mime string) contract.EvidenceItem {
		return contract.EvidenceItem{Name: name, MIME: mime, Bytes: 9, SHA256: strings.Repeat("ab", 32)}
	}
	huge := item("huge.log", "text/plain")
	huge.Bytes = MaxPiece + 1
	inc.Evidence = []contract.EvidenceSet{
		{Key: "try-1", Before: ladder.RungReset, Host: "kvm1", Worker: "worker1", At: recorded.First, Items: []contract.EvidenceItem{
			item("screenshot.png", "image/png"), item("old.ppm", "image/x-portable-pixmap"), item("qemu.log", "text/plain; charset=utf-8"),
			item("stats.json", "application/json"), item("no.png", "image/png"), item("gone.log", "text/plain"),
			{Name: "job.json", Error: "no answer within 1s"}, {Name: "memory.dump", MIME: "application/octet-stream", OnHost: true, Path: "/pool/x", Bytes: 1 << 30}, huge,
		}},
		{Key: "try-2", Error: "this worker keeps no evidence"},
	}
	require.Equal(t, []Piece{{0, 0}, {0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 5}}, Wanted(inc))

	long := strings.Repeat("x", 10) + strings.Repeat("y", maxTail)
	page, all := rendered(t, Page{Incident: inc, Evidence: map[Piece]Content{
		{0, 0}: {Data: screen(t)}, {0, 1}: {Data: pixmap()}, {0, 2}: {Data: []byte(long)}, {0, 3}: {Data: []byte(`{"cpu": "<b>"}`)},
		{0, 4}: {Data: []byte("<svg onload=x>")}, {0, 5}: {Error: "the worker wants a token"},
	}})
	harmless(t, all)
	require.Contains(t, page, base64.StdEncoding.EncodeToString(screen(t))[:40])
	images := 0
	for _, e := range all {
		if e.name == "img" {
			images++
		}
	}
	require.Equal(t, 2, images)
	require.Equal(t, []string{strings.Repeat("y", maxTail), `{"cpu": "<b>"}`}, texts(all, "pre"))
	for _, says := range []string{
		"the last 64 KiB of 64 KiB", "not had: no answer within 1s", "on host kvm1: /pool/x", "could not be fetched: the worker wants a token",
		"not on this page: it is no picture that browsers show", "1024 MiB", "this worker keeps no evidence", "Before the reset (try-1)", strings.Repeat("ab", 32),
	} {
		require.Contains(t, page, says)
	}
}

func TestPixmaps(t *testing.T) {
	data, err := fromPPM(pixmap())
	require.NoError(t, err)
	img, err := png.Decode(bytes.NewReader(data))
	require.NoError(t, err)
	require.Equal(t, image.Rect(0, 0, 2, 1), img.Bounds())
	require.Equal(t, color.RGBA{'\n', ' ', 3, 255}, color.RGBAModel.Convert(img.At(0, 0)))
	require.Equal(t, color.RGBA{4, 5, 6, 255}, color.RGBAModel.Convert(img.At(1, 0)))
	for _, broken := range []string{"P6", "P6\n2 1\n255\nabc", "P6\n0 0\n255\n", "P6\n-1 -1\n255\n", "P6\n99999 99999\n255\n", "P6\n2 1\n65535\nabcdefghijkl"} {
		_, err := fromPPM([]byte(broken))
		require.ErrorIs(t, err, errPPM, "%q", broken)
	}
}

// What a page holds is bounded, however much there is.
func TestAPageIsBounded(t *testing.T) {
	data := screen(t)
	data = append(data, make([]byte, MaxPiece-len(data))...) // decoders stop at the end of the picture
	inc := recorded.Panicked()
	fetched := map[Piece]Content{}
	var set contract.EvidenceSet
	for i := range 9 {
		set.Items = append(set.Items, contract.EvidenceItem{Name: fmt.Sprintf("%d.png", i), MIME: "image/png", Bytes: MaxPiece, SHA256: "ab"})
		fetched[Piece{0, i}] = Content{Data: data}
	}
	inc.Evidence = []contract.EvidenceSet{set}
	page, _ := rendered(t, Page{Incident: inc, Evidence: fetched})
	require.Equal(t, maxPage/MaxPiece, strings.Count(page, "<img"))
	require.Equal(t, 9-maxPage/MaxPiece, strings.Count(page, "which would be too large"))
}
