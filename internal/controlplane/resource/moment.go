package resource

import (
	"time"

	"fairlead.dev/fairlead/api/arm"
)

// Moment reads a query parameter that is a time, or how long ago it was; the zero time when it was not given.
func Moment(name, v string, now time.Time) (time.Time, error) {
	if v == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(v); err == nil && d >= 0 {
		return now.Add(-d).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return t, arm.Invalid(name, "%s=%.40q is neither a duration such as 90m nor a time such as 2026-03-04T05:06:07Z.", name, v)
	}
	return t.UTC(), nil
}
