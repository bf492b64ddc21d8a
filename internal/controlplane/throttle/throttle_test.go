package throttle

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestOrigin(t *testing.T) {
	for addr, want := range map[string]string{"10.0.0.1:5": "10.0.0.1", "[2001:db8:1:2:3::9]:5": "2001:db8:1:2::/64", "[fe80::1%eth0]:1": "fe80::/64", "@": "@"} {
		if got := Origin(&http.Request{RemoteAddr: addr}); got != want {
			t.Errorf("%s is %s, want %s", addr, got, want)
		}
	}
}

func TestLimiterForgets(t *testing.T) {
	now := time.Unix(0, 0)
	l := Guesses(func() time.Time { return now })
	for i := range maxBuckets + 10 {
		l.Take(fmt.Sprint(i))
	}
	l.Take(strings.Repeat("x", 60_000))
	for k := range l.buckets {
		if len(k) > maxKey {
			t.Errorf("a key of %d bytes is kept", len(k))
		}
	}
	if len(l.buckets) > maxBuckets {
		t.Errorf("%d keys remembered", len(l.buckets))
	}
}
