package extensionsettings

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Texts turns the JSON values of settings into texts, as the reference does: true becomes True. A null is left out.
func Texts(values map[string]any, protected bool) (map[string]string, Problems) {
	out := make(map[string]string, len(values))
	var ps Problems
	for _, key := range slices.Sorted(maps.Keys(values)) {
		switch value := values[key].(type) {
		case nil:
		case string:
			out[key] = value
		case bool:
			out[key] = map[bool]string{true: "True", false: "False"}[value]
		case json.Number:
			out[key] = value.String()
		case float64:
			raw, _ := json.Marshal(value) // a float64 that came out of JSON goes into it
			out[key] = string(raw)
		default:
			ps = append(ps, Problem{Key: key, Protected: protected, Why: fmt.Sprintf("is not a text, number or boolean, but %s", nested(value)),
				Fix: "Write nested settings as dotted names (a.b=c)."})
		}
	}
	return out, ps
}

func nested(value any) string {
	if _, ok := value.([]any); ok {
		return "a list"
	}
	return "an object"
}
