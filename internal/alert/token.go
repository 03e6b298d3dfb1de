package alert

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxToken is far more than any token has, and little to read by mistake.
const maxToken = 8 << 10

// TokenFile is the path of a file that holds a bearer token and nothing else.
type TokenFile string

// Read returns the token as it is now. It is read from the file each time, so
// that a new one counts as soon as it is there, whether the file was written
// anew, renamed or is a link that was turned. White space around it does not
// count. The error names the file and never what is in it.
func (f TokenFile) Read() (string, error) {
	file, err := os.Open(string(f))
	if err != nil {
		return "", fmt.Errorf("read token: %w; put the token there, readable for this process", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if err := check(token, len(data)); err != nil {
		return "", fmt.Errorf("read token: %s %w", string(f), err)
	}
	return token, nil
}

func check(token string, size int) error {
	switch {
	case size > maxToken:
		return fmt.Errorf("is longer than %d bytes: it should hold one token alone", maxToken)
	case token == "":
		return errors.New("is empty: write the token into it")
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("holds more than one word, or characters that no token has: it should hold one token alone")
	}
	return nil
}
