package front

import (
	"strconv"
	"testing"
	"time"
)

// Times and durations are written as the standard library would.
func TestTimesInLines(t *testing.T) {
	at := time.Date(2026, 2, 3, 4, 5, 6, 7e6, time.FixedZone("", 3600))
	for range 5 {
		if got, want := string(appendTime(nil, at)), at.UTC().Format("2006-01-02T15:04:05.000Z"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		at = at.Add(513 * time.Millisecond)
	}
	for _, d := range []time.Duration{0, time.Microsecond, 10 * time.Microsecond, 999999 * time.Nanosecond, time.Millisecond, 1500 * time.Microsecond, time.Hour + 100*time.Microsecond} {
		want := `,"ms":` + strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', -1, 64)
		if got := string(appendMillis(nil, "ms", d)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
