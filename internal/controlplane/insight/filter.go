package insight

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/insights"
)

// Dimensions of metrics that are measured by status code.
const (
	byCode  = "statusCode"
	byClass = "statusCodeClass"
)

// Filter chooses series by status code: those of one value, or, by "*", all, each for itself. The zero value adds them up.
type Filter struct{ Dimension, Value string }

var filterForm = regexp.MustCompile(`^\s*(\w+)\s+(?i:eq)\s+'([0-9xX]{3}|\*)'\s*$`)

func parseFilter(text string) (Filter, error) {
	if strings.TrimSpace(text) == "" {
		return Filter{}, nil
	}
	m := filterForm.FindStringSubmatch(text)
	if m != nil {
		for _, dimension := range []string{byCode, byClass} {
			if strings.EqualFold(m[1], dimension) {
				return Filter{dimension, strings.ToLower(m[2])}, nil
			}
		}
	}
	return Filter{}, arm.Invalid("$filter", "$filter=%.80q is not one of %s eq '*', %s eq '503', %s eq '*' and %s eq '5xx'.", text, byCode, byCode, byClass, byClass)
}

func dimensionName(dimension string) insights.Name {
	return insights.Name{Value: dimension, LocalizedValue: dimension}
}

// of is a status code's value in the filter's dimension.
func (f Filter) of(code string) string {
	if f.Dimension == byClass {
		return code[:1] + "xx"
	}
	return code
}

// timeseries is one, or one for each value of the filter's dimension.
func (d Definition) timeseries(q Query, minutes []minute) []insights.Timeseries {
	if !d.Codes {
		return []insights.Timeseries{{MetadataValues: []insights.MetadataValue{}, Data: d.series(q, minutes)}}
	}
	if q.Filter.Dimension == "" {
		all := d.add(minutes, func(string) string { return "" })
		return []insights.Timeseries{{MetadataValues: []insights.MetadataValue{}, Data: d.series(q, all[""])}}
	}
	out := []insights.Timeseries{}
	split := d.add(minutes, q.Filter.of)
	for _, value := range slices.Sorted(maps.Keys(split)) {
		if q.Filter.Value == "*" || q.Filter.Value == value {
			meta := []insights.MetadataValue{{Name: dimensionName(q.Filter.Dimension), Value: value}}
			out = append(out, insights.Timeseries{MetadataValues: meta, Data: d.series(q, split[value])})
		}
	}
	return out
}

// add adds up the codes of each minute that are one.
func (d Definition) add(minutes []minute, one func(code string) string) map[string][]minute {
	out := map[string][]minute{}
	for _, m := range minutes {
		sums := map[string]float64{}
		for name, v := range m.values {
			if code, ok := strings.CutPrefix(name, d.Name+"/"); ok && statusCode.MatchString(code) {
				sums[one(code)] += v
			}
		}
		for value, n := range sums {
			out[value] = append(out[value], minute{m.at, map[string]float64{d.Name: n}})
		}
	}
	return out
}
