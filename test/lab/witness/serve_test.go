package main

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRespond(t *testing.T) {
	for request, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n": "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n",
		"HEAD / HTTP/1.0\r\n\r\n":           "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\nConnection: close\r\n\r\n",
		"GET /x HTTP/1.0\r\n\r\n":           "HTTP/1.0 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 16\r\nConnection: close\r\n\r\nthere is only /\n",
		"POST / HTTP/1.0\r\n\r\n":           "HTTP/1.0 405 Method Not Allowed\r\nContent-Type: text/plain\r\nContent-Length: 12\r\nConnection: close\r\n\r\nGET or HEAD\n",
		"hello\r\n\r\n":                     "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 14\r\nConnection: close\r\n\r\nnot a request\n",
		"\r\n":                              "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 14\r\nConnection: close\r\n\r\nnot a request\n",
	} {
		here, there := net.Pipe()
		go respond(there, func() string { return "hello\n" })
		_, err := here.Write([]byte(request))
		require.NoError(t, err)
		got, err := io.ReadAll(here)
		require.NoError(t, err)
		require.Equal(t, want, string(got), request)
	}
}
