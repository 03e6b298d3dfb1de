package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"time"
)

// servePort is where the guest answers by HTTP.
const servePort = 80

// requestWait is how long a client may take to say what it wants.
const requestWait = 5 * time.Second

// serve answers GET / with a line about this boot for as long as the guest runs.
// That is all of HTTP/1.0 that a probe has use for; net/http would make the guest
// twice as large.
func serve(about func() string) error {
	listener, err := net.Listen("tcp4", fmt.Sprintf(":%d", servePort))
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go respond(conn, about)
	}
}

// respond reads one request, answers it and hangs up.
func respond(conn net.Conn, about func() string) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(requestWait)); err != nil {
		return
	}
	var first string
	lines := bufio.NewScanner(conn)
	for lines.Scan() && lines.Text() != "" { // to the end of the header: who closes with bytes unread resets
		if first == "" {
			first = lines.Text()
		}
	}
	fields := strings.Fields(first)
	status, body := "400 Bad Request", "not a request\n"
	switch {
	case len(fields) != 3 || !strings.HasPrefix(fields[2], "HTTP/"):
	case fields[0] != "GET" && fields[0] != "HEAD":
		status, body = "405 Method Not Allowed", "GET or HEAD\n"
	case fields[1] != "/":
		status, body = "404 Not Found", "there is only /\n"
	default:
		status, body = "200 OK", about()
	}
	header := fmt.Sprintf("HTTP/1.0 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", status, len(body))
	if len(fields) > 0 && fields[0] == "HEAD" {
		body = ""
	}
	_, _ = conn.Write([]byte(header + body)) // a client that left has its answer
}
