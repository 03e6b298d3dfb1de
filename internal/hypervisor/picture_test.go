package hypervisor

import (
	"bytes"
	"fmt"
	"image/color"
	"image/png"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPictureOfAPPM(t *testing.T) {
	pixels := []byte{255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7, 10, 13, 32, 1, 2, 3}
	for _, header := range []string{"P6\n3 2\n255\n", "P6\n# QEMU\n3 2 # a comment\n255\n", "P6 3 2 255 "} {
		p, err := NewPicture("image/x-portable-pixmap", append([]byte(header), pixels...))
		require.NoError(t, err, header)
		require.Equal(t, "image/png", p.MIME)
		img, err := png.Decode(bytes.NewReader(p.Data))
		require.NoError(t, err)
		require.Equal(t, "(0,0)-(3,2)", img.Bounds().String())
		require.Equal(t, color.NRGBA{255, 0, 0, 255}, color.NRGBAModel.Convert(img.At(0, 0)))
		require.Equal(t, color.NRGBA{9, 8, 7, 255}, color.NRGBAModel.Convert(img.At(0, 1)))
		require.Equal(t, color.NRGBA{1, 2, 3, 255}, color.NRGBAModel.Convert(img.At(2, 1)))
	}
	p, err := NewPicture("image/png", []byte("as it is"))
	require.NoError(t, err)
	require.Equal(t, Picture{MIME: "image/png", Data: []byte("as it is")}, p)
}

func TestPicturesThatAreNone(t *testing.T) {
	for data, want := range map[string]string{
		"":                          "no binary PPM",
		"P3\n1 1\n255\n0 0 0":       "no binary PPM",
		"P6":                        "header",
		"P6\n#":                     "header",
		"P6\n1 1\n65535\n......":    "only 255",
		"P6\n0 1\n255\n...":         "not plausible",
		"P6\n20000 20000\n255\n...": "not plausible",
		"P6\n9999999 1\n255\n...":   "only 255",
		"P6\n2 2\n255\n...":         "ends too soon",
		"P6\n1 1\n255":              "ends too soon",
	} {
		_, err := NewPicture("image/x-portable-pixmap", []byte(data))
		require.ErrorContains(t, err, want, "%q", data)
	}
	_, err := NewPicture("image/png", make([]byte, MaxPicture+1))
	require.ErrorContains(t, err, fmt.Sprint(MaxPicture))
}

func FuzzReadPPM(f *testing.F) {
	f.Add([]byte("P6\n1 1\n255\n..."))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = NewPicture("image/x-portable-pixmap", data) })
}
