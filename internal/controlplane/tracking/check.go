package tracking

import (
	"math"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// Limits, in characters, and of what one request logs.
const (
	maxKey        = 250
	maxParam      = 6000
	maxTag        = 8000
	maxExperiment = 500
	maxExpTag     = 20000
	maxModelTag   = 5000

	maxMetrics  = 1000
	maxTexts    = 100
	maxEntities = 1000
	maxLog      = 1_000_000 // bytes

	maxDatasets = 16 << 20 // bytes of what a run says of its data sets
	maxPage     = 32 << 20 // bytes of what the runs of one page logged
)

var nameRule = regexp.MustCompile(`^[/\pL\pN_.\- :]*$`)

func checkName(what, name string) error {
	if name == "" {
		return invalid("Missing value for required parameter '%s'.", what)
	}
	if !nameRule.MatchString(name) {
		return invalid("Invalid value %.300q for parameter '%s' supplied: Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/).", name, what)
	}
	if clean := path.Clean(name); clean != name || clean == "." || strings.HasPrefix(clean, "..") || strings.HasPrefix(clean, "/") {
		return invalid("Invalid value %.300q for parameter '%s' supplied: Names may be treated as files in certain cases, and must not resolve to other names when treated as such. This name would resolve to %q", name, what, clean)
	}
	return checkLength(what, name, maxKey)
}

func checkLength(what, value string, limit int) error {
	if n := utf8.RuneCountInString(value); n > limit {
		return invalid("'%s' exceeds the maximum length of %d characters: it has %d.", what, limit, n)
	}
	if strings.ContainsRune(value, 0) {
		return invalid("'%s' holds a NUL character, which cannot be stored; leave it out.", what)
	}
	return nil
}

// truncated is a value cut to a number of characters, which is what MLflow does with long parameters and tags.
func truncated(value string, limit int) string {
	if utf8.RuneCountInString(value) <= limit {
		return value
	}
	return string([]rune(value)[:limit])
}

// checkTexts checks parameters or tags and cuts long values.
func checkTexts(what string, in []keyValue, limit int) ([]store.TrackedText, error) {
	out := make([]store.TrackedText, 0, len(in))
	for _, kv := range in {
		if err := checkName(what+".key", kv.Key); err != nil {
			return nil, err
		}
		v := store.TrackedText{Key: kv.Key, Value: truncated(kv.Value, limit)}
		if err := checkLength(what+".value", v.Value, limit); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// checkMetrics checks points. What is infinite becomes the largest number there is.
func checkMetrics(in []wireMetric) ([]store.TrackedMetric, error) {
	out := make([]store.TrackedMetric, 0, len(in))
	for _, m := range in {
		if err := checkName("metric.key", m.Key); err != nil {
			return nil, err
		}
		switch {
		case m.Value == nil:
			return nil, invalid("Missing value for required parameter 'metrics.value' of metric %q.", m.Key)
		case m.Timestamp == nil:
			return nil, invalid("Missing value for required parameter 'metrics.timestamp' of metric %q.", m.Key)
		case *m.Timestamp < 0:
			return nil, invalid("Invalid value %d for parameter 'metrics.timestamp' of metric %q: Timestamp must be a nonnegative long (64-bit integer)", *m.Timestamp, m.Key)
		}
		out = append(out, stored(m))
	}
	return out, nil
}

func stored(m wireMetric) store.TrackedMetric {
	v := store.TrackedMetric{Key: m.Key, Value: float64(*m.Value), Step: int64(m.Step), At: int64(*m.Timestamp)}
	switch {
	case math.IsNaN(v.Value):
		v.Value, v.NaN = 0, true
	case math.IsInf(v.Value, 0):
		v.Value = math.Copysign(math.MaxFloat64, v.Value)
	}
	return v
}
