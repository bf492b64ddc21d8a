package extension

import (
	"fairlead.dev/fairlead/internal/extensionsettings"
)

// values turns configuration settings into chart values over the given defaults. The settings are checked again, because whoever
// wrote them may know other ones than this agent; those that it does not know change nothing. Dates of certificates are not, because an agent that restarts must find an
// extension whose certificate has expired as valid as it was.
func values(defaults map[string]any, settings, protected map[string]string) (map[string]any, error) {
	s := extensionsettings.Settings{Plain: settings, Protected: protected}
	if err := s.Validate(extensionsettings.Options{Stored: s}).Err(); err != nil {
		return nil, err
	}
	out := clone(defaults)
	merge(out, s.Values())
	return out, nil
}

// merge writes from over into, level by level; a value of from wins.
func merge(into, from map[string]any) {
	for name, value := range from {
		below, isMap := value.(map[string]any)
		old, wasMap := into[name].(map[string]any)
		if isMap && wasMap {
			merge(old, below)
			continue
		}
		into[name] = value
	}
}

func clone(values map[string]any) map[string]any {
	out := make(map[string]any, len(values))
	for name, value := range values {
		if below, ok := value.(map[string]any); ok {
			value = clone(below)
		}
		out[name] = value
	}
	return out
}
