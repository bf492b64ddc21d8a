package freeport

import (
	"fmt"
	"net"
	"testing"
)

func TestTake(t *testing.T) {
	seen := map[int]bool{}
	for range 100 {
		port := Take(t)
		if seen[port] {
			t.Fatalf("port %d was given twice", port)
		}
		seen[port] = true
	}
	for port := range seen {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
	}
}
