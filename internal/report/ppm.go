package report

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
)

var errPPM = errors.New("it is a broken pixmap")

// fromPPM makes a PNG of a pixmap, which is what QEMU before 7.1 makes of a screen
// and browsers do not know.
func fromPPM(data []byte) ([]byte, error) {
	var width, height, most int
	r := bytes.NewReader(data)
	if n, err := fmt.Fscanf(r, "P6\n%d %d\n%d\n", &width, &height, &most); err != nil || n != 3 {
		return nil, errPPM
	}
	if width < 1 || height < 1 || width > maxPixels/height || most != 255 || r.Len() < 3*width*height {
		return nil, errPPM
	}
	pixels := data[len(data)-r.Len():]
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			at := 3 * (y*width + x)
			img.SetRGBA(x, y, color.RGBA{pixels[at], pixels[at+1], pixels[at+2], 0xff})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
