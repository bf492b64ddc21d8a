package types

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

var (
	isoRule = regexp.MustCompile(`^P(?:(\d{1,9})W)?(?:(\d{1,9})D)?(T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})(?:[.,](\d{1,9}))?S)?)?$`)
	isoLong = regexp.MustCompile(`^P[0-9WD]*[YM]|^P\d+Y`)
)

// maxTimeout bounds limits.timeout.
const maxTimeout = 365 * 24 * time.Hour

// parseISODuration reads an ISO 8601 duration of weeks, days, hours, minutes and seconds (PT5M, P1DT2H), above 0. A fraction counts as a
// whole second.
func parseISODuration(s string) (time.Duration, error) {
	d, err := parseExact(s)
	if err != nil {
		return 0, err
	}
	if d == 0 {
		return 0, fmt.Errorf("%q is no time at all; give at least PT1S, or leave it out for no limit", s)
	}
	return (d + time.Second - 1).Truncate(time.Second), nil
}

// parseExact is parseISODuration to the nanosecond, 0 included.
func parseExact(s string) (time.Duration, error) {
	if isoLong.MatchString(s) {
		return 0, fmt.Errorf("%q counts years or months, which have no fixed length; use days (P30D)", s)
	}
	m := isoRule.FindStringSubmatch(s)
	if m == nil || len(s) < 3 || m[3] == "T" {
		return 0, fmt.Errorf("%q is not an ISO 8601 duration such as PT5M (5 minutes), PT1H30M or P2D", s)
	}
	var total time.Duration
	for i, unit := range map[int]time.Duration{1: 7 * 24 * time.Hour, 2: 24 * time.Hour, 4: time.Hour, 5: time.Minute, 6: time.Second} {
		if m[i] == "" {
			continue
		}
		n, err := strconv.ParseInt(m[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%q: %w", s, err)
		}
		if n > int64(maxTimeout/unit) {
			return 0, fmt.Errorf("%q is longer than %d days, the most that is allowed", s, maxTimeout/(24*time.Hour))
		}
		total += time.Duration(n) * unit
	}
	if m[7] != "" {
		n, err := strconv.ParseInt((m[7] + "000000000")[:9], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%q: %w", s, err)
		}
		total += time.Duration(n)
	}
	if total > maxTimeout {
		return 0, fmt.Errorf("%q is longer than %d days, the most that is allowed", s, maxTimeout/(24*time.Hour))
	}
	return total, nil
}
