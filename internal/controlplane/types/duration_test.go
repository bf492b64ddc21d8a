package types

import (
	"testing"
	"time"
)

func TestParseISODuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"PT5M": 5 * time.Minute, "PT1H30M": 90 * time.Minute, "P2D": 48 * time.Hour, "P1W": 7 * 24 * time.Hour, "P1DT2H3M4S": 26*time.Hour + 3*time.Minute + 4*time.Second,
		"PT0.5S": time.Second, "PT90S": 90 * time.Second, "P365D": maxTimeout,
	} {
		if got, err := parseISODuration(s); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "P", "PT", "5M", "PT5", "PT-5M", "P1Y", "P1M", "P1DT", "PT0S", "P366D", "PT999999999H", "pt5m", "PT5M ", "P1Y2M"} {
		if got, err := parseISODuration(s); err == nil {
			t.Errorf("%q was read as %v", s, got)
		}
	}
}

// FuzzParseISODuration looks for durations out of range.
func FuzzParseISODuration(f *testing.F) {
	f.Add("P1DT2H3M4.5S")
	f.Add("P52W")
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := parseISODuration(s); err == nil && (d <= 0 || d > maxTimeout) {
			t.Fatalf("%q gives %v", s, d)
		}
	})
}
