package router

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"

	"fairlead.dev/fairlead/internal/router/routertest"
)

// BenchmarkRequest is one caller that asks again and again, over its own reader; what it counts of memory is the router's alone.
func BenchmarkRequest(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\nok")
				for buf := make([]byte, 4096); ; {
					if _, err := conn.Read(buf); err != nil {
						return
					}
					if _, err := conn.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	r := start(b, routertest.One("one", nil, listener.Addr().String()), func(c *Config) { c.AccessLog = io.Discard })
	conn := r.dial(b)
	b.Cleanup(func() { conn.Close() })
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 5\r\n\r\nhello", score, routertest.Key("one"))
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if n, err := conn.Read(buf); err != nil || !bytes.HasSuffix(buf[:n], []byte("ok")) {
			b.Fatalf("%q %v", buf[:n], err)
		}
	}
}
