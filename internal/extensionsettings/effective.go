package extensionsettings

import (
	"maps"
	"slices"
	"strings"
)

// Effective is what the settings come to: defaults filled in, values in one spelling, and what stands for settings of GA turned
// into them. Settings without effect are left out. The settings must be valid.
func (s Settings) Effective() map[string]string {
	out := map[string]string{}
	for _, row := range Table {
		if row.Default != "" && row.Chart != "" {
			out[row.Name] = row.Default
		}
	}
	// Three rounds, each over the one before: what clients derive, what stands for something, what is said by its own name.
	for _, st := range s.stands() {
		if st.weak {
			out[st.name] = st.value
		}
	}
	for _, st := range s.stands() {
		if !st.weak {
			out[st.name] = st.value
		}
	}
	for _, key := range s.keys() {
		row, known := find(spell(key))
		if value, _ := row.kindOf(s.given(key)); known && row.Chart != "" && (value != "" || row.Below == &nodeLabel) {
			out[spell(key)] = value
		}
	}
	if out["inferenceRouterServiceType"] != "loadBalancer" {
		delete(out, "internalLoadBalancerProvider")
	}
	if name := s.certificateName(); name != "" && out["sslCname"] == "" {
		out["sslCname"] = name
	}
	return out
}

// said is what one given setting stands for.
type said struct {
	stand
	key string
}

// stands lists what the given settings stand for, values filled in.
func (s Settings) stands() []said {
	var out []said
	for _, key := range s.keys() {
		row, known := find(spell(key))
		if !known || s.given(key) == "" {
			continue
		}
		value, _ := row.kindOf(s.given(key))
		for _, st := range row.Stands {
			if st.when == "" {
				st.value = value
			}
			if st.when == "" || st.when == value {
				out = append(out, said{st, key})
			}
		}
	}
	return out
}

// keys lists the given settings in order.
func (s Settings) keys() []string {
	all := slices.AppendSeq(slices.Collect(maps.Keys(s.Plain)), maps.Keys(s.Protected))
	slices.Sort(all)
	return slices.Compact(all)
}

// spell takes the backslashes out of a key: they may be given before the dots of a name, as Helm wants them.
func spell(key string) string { return strings.ReplaceAll(key, `\.`, ".") }

// Values turns settings into chart values. They stay texts; a label's name is one name, whatever dots it has.
func (s Settings) Values() map[string]any {
	out := map[string]any{}
	for key, value := range s.Effective() {
		row, _ := find(key)
		path := strings.Split(row.Chart, ".")
		if prefix := row.family(); prefix != "" {
			below := strings.TrimPrefix(key, prefix)
			if row.Below == &nodeLabel {
				path = append(path, below)
			} else {
				path = append(path, strings.Split(below, ".")...)
			}
		}
		level := out
		for _, name := range path[:len(path)-1] {
			next, ok := level[name].(map[string]any)
			if !ok {
				next = map[string]any{}
				level[name] = next
			}
			level = next
		}
		level[path[len(path)-1]] = value
	}
	return out
}
