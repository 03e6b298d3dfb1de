package hypervisor

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
	"strconv"
)

// mimePPM is what QEMU's screens come as.
const mimePPM = "image/x-portable-pixmap"

// longestSide bounds the sides of a picture, in pixels, so that a header which
// lies does not fill the memory.
const longestSide = 16 << 10

// NewPicture makes a Picture of what a hypervisor gave, and a PNG of a PPM.
func NewPicture(mime string, data []byte) (Picture, error) {
	if mime == mimePPM || bytes.HasPrefix(data, []byte("P6")) {
		img, err := readPPM(data)
		if err != nil {
			return Picture{}, fmt.Errorf("the picture cannot be read: %w", err)
		}
		var out bytes.Buffer
		if err := png.Encode(&out, img); err != nil {
			return Picture{}, fmt.Errorf("the picture cannot be written: %w", err)
		}
		mime, data = "image/png", out.Bytes()
	}
	if len(data) > MaxPicture {
		return Picture{}, fmt.Errorf("the picture has %d bytes, more than %d", len(data), MaxPicture)
	}
	return Picture{MIME: mime, Data: data}, nil
}

// readPPM reads a binary PPM (P6) of one byte a sample, as QEMU writes it.
func readPPM(data []byte) (image.Image, error) {
	rest, ok := bytes.CutPrefix(data, []byte("P6"))
	if !ok {
		return nil, errors.New("it is no binary PPM")
	}
	var header [3]int // width, height, largest sample
	for i := range header {
		var err error
		if header[i], rest, err = ppmNumber(rest); err != nil {
			return nil, err
		}
	}
	width, height := header[0], header[1]
	if header[2] != 255 {
		return nil, fmt.Errorf("its samples go up to %d, and only 255 is known", header[2])
	}
	if width < 1 || height < 1 || width > longestSide || height > longestSide {
		return nil, fmt.Errorf("%d x %d pixels are not plausible", width, height)
	}
	if len(rest) < 1 || len(rest)-1 < 3*width*height {
		return nil, fmt.Errorf("it ends too soon for %d x %d pixels", width, height)
	}
	rest = rest[1:] // one white space ends the header
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for from, to := 0, 0; to < len(img.Pix); from, to = from+3, to+4 {
		copy(img.Pix[to:to+3], rest[from:from+3])
		img.Pix[to+3] = 0xff
	}
	return img, nil
}

// ppmNumber reads a number of the header, after white space and comments.
func ppmNumber(data []byte) (n int, rest []byte, err error) {
	rest = bytes.TrimLeft(data, " \t\r\n\v\f")
	for bytes.HasPrefix(rest, []byte("#")) {
		_, after, _ := bytes.Cut(rest, []byte("\n"))
		rest = bytes.TrimLeft(after, " \t\r\n\v\f")
	}
	end := 0
	for end < len(rest) && end < 6 && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	if n, err = strconv.Atoi(string(rest[:end])); err != nil {
		return 0, nil, errors.New("its header is not that of a PPM")
	}
	return n, rest[end:], nil
}
