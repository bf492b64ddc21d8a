package routerbench

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const ourName = "Fairlead"

// closedRow measures one scenario on every system, one after the other.
func closedRow(b *testing.B, s scenario, all []target, c config, lasting time.Duration) {
	b.Helper()
	conns := 64
	if s.delay > 0 {
		conns = 256
	}
	fmt.Printf("\n%s\n", s)
	var mine, best closed
	for _, t := range all {
		url := "http://" + t.config.HTTP
		if s.secure {
			url = "https://" + t.config.HTTPS
		}
		url += path(s.size, s.delay)
		asFastAsItGoes(b, url, c.Key, s.size, conns, time.Second, t.pid) // warms up
		m := asFastAsItGoes(b, url, c.Key, s.size, conns, lasting, t.pid)
		fmt.Printf("  %-14s %8.0f /s   %6.1f µs\n", t.name, m.perSecond, m.micros)
		switch {
		case t.name == ourName:
			mine = m
		case best.perSecond == 0:
			best = m
		default:
			best = closed{max(best.perSecond, m.perSecond), min(best.micros, m.micros)}
		}
	}
	if !s.secure {
		m := asFastAsItGoes(b, "http://"+c.Blue+strings.TrimPrefix(path(s.size, s.delay), "/api/v1/endpoint/one"), c.Key, s.size, conns, lasting, 0)
		fmt.Printf("  %-14s %8.0f /s\n", "no proxy", m.perSecond)
	}
	if best.perSecond > 0 && mine.perSecond > 0 {
		fmt.Printf("  ratio          %8.2f      %6.2f\n", mine.perSecond/best.perSecond, mine.micros/best.micros)
	}
}

// openRow measures what each system adds to the latency of the models alone.
func openRow(b *testing.B, s scenario, all []target, c config, lasting time.Duration) {
	b.Helper()
	request := func(path string) []byte {
		return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: models\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			path, c.Key, s.size, strings.Repeat("x", s.size))
	}
	fmt.Printf("\n%s\n", s)
	direct := atRate(b, c.Blue, false, request(strings.TrimPrefix(path(s.size, s.delay), "/api/v1/endpoint/one")), s.rate, lasting)
	fmt.Printf("  %-14s p50 %7.3f ms          p99 %7.3f ms\n", "no proxy", ms(direct.p50), ms(direct.p99))
	var mine, best latency
	for _, t := range all {
		addr := t.config.HTTP
		if s.secure {
			addr = t.config.HTTPS
		}
		l := atRate(b, addr, s.secure, request(path(s.size, s.delay)), s.rate, lasting)
		l.p50, l.p99 = l.p50-direct.p50, l.p99-direct.p99
		fmt.Printf("  %-14s p50 %7.3f ms added    p99 %7.3f ms added\n", t.name, ms(l.p50), ms(l.p99))
		switch {
		case t.name == ourName:
			mine = l
		case best.p50 == 0:
			best = l
		default:
			best = latency{min(best.p50, l.p50), min(best.p99, l.p99)}
		}
	}
	if best.p50 > 0 && best.p99 > 0 && mine.p50 != 0 {
		fmt.Printf("  ratio          %11.2f                %11.2f\n", float64(mine.p50)/float64(best.p50), float64(mine.p99)/float64(best.p99))
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
