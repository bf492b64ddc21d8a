package routerbench

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"
)

const ourName, noProxy = "Fairlead", "no proxy"

// rounds is how often the systems take turns at a rate, so that what the machine does meanwhile comes to all.
const rounds = 3

func (t *target) url(s scenario) string {
	if s.secure {
		return "https://" + t.config.HTTPS + path(s.size, s.delay)
	}
	return "http://" + t.config.HTTP + path(s.size, s.delay)
}

func heading(title string, columns []string) {
	fmt.Printf("\n| %s | %s |\n|%s\n", title, strings.Join(columns, " | "), strings.Repeat("---|", len(columns)+1))
}

func names(all []target) []string {
	var names []string
	for _, t := range all {
		names = append(names, t.name)
	}
	return names
}

// closedTable is how many requests a processor is good for.
func closedTable(b *testing.B, rows []scenario, all []target, c config, lasting time.Duration) {
	b.Helper()
	heading("requests/s on one processor (processor time of one)", append(names(all), noProxy, "to the best peer"))
	for _, s := range rows {
		conns := 64
		if s.delay > 0 {
			conns = 256
		}
		fmt.Printf("| %s |", s)
		var mine, best float64
		for _, t := range all {
			asFastAsItGoes(b, t.url(s), c.Key, s.size, conns, time.Second, t.pid) // warms up
			m := asFastAsItGoes(b, t.url(s), c.Key, s.size, conns, lasting, t.pid)
			fmt.Printf(" %.0f (%.1f µs) |", m.perSecond, m.micros)
			if t.name == ourName {
				mine = m.perSecond
			} else {
				best = max(best, m.perSecond)
			}
		}
		m := asFastAsItGoes(b, "http://"+c.Blue+direct(s), c.Key, s.size, conns, time.Second, 0)
		fmt.Printf(" %.0f | %s |\n", m.perSecond, ratio(mine, best))
	}
}

// openTables are how long requests take at a rate, and in brackets by how much that is longer than without a proxy.
func openTables(b *testing.B, rows []scenario, all []target, c config, lasting time.Duration) {
	b.Helper()
	took := make([]map[string][]time.Duration, len(rows))
	for i, s := range rows {
		took[i] = openRow(b, s, all, c, lasting)
	}
	for _, q := range []struct {
		name string
		part float64
	}{{"p50", 0.5}, {"p99", 0.99}} {
		heading(q.name+" in ms (added)", append(append([]string{noProxy}, names(all)...), "added, to the best peer"))
		for i, s := range rows {
			alone := quantile(took[i][noProxy], q.part)
			fmt.Printf("| %s | %.2f |", s, ms(alone))
			var mine, best float64
			for _, t := range all {
				l := quantile(took[i][t.name], q.part)
				added := ms(l - alone)
				fmt.Printf(" %.2f (%+.2f) |", ms(l), added)
				if t.name == ourName {
					mine = added
				} else {
					best = min(cmp.Or(best, added), added)
				}
			}
			fmt.Printf(" %s |\n", ratio(mine, best))
		}
	}
}

// openRow measures the models alone and behind every system, in turns.
func openRow(b *testing.B, s scenario, all []target, c config, lasting time.Duration) map[string][]time.Duration {
	b.Helper()
	request := func(path string) []byte {
		return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: models\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			path, c.Key, s.size, strings.Repeat("x", s.size))
	}
	took := map[string][]time.Duration{}
	for range rounds {
		took[noProxy] = append(took[noProxy], atRate(b, c.Blue, false, request(direct(s)), s.rate, lasting/rounds)...)
		for _, t := range all {
			addr := t.config.HTTP
			if s.secure {
				addr = t.config.HTTPS
			}
			took[t.name] = append(took[t.name], atRate(b, addr, s.secure, request(path(s.size, s.delay)), s.rate, lasting/rounds)...)
		}
	}
	return took
}

// direct is the path at the models.
func direct(s scenario) string {
	return strings.TrimPrefix(path(s.size, s.delay), "/api/v1/endpoint/one")
}

// ratio is one of what both are there for and more than nothing.
func ratio(mine, best float64) string {
	if mine <= 0 || best <= 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", mine/best)
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
