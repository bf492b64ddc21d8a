package template

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// kinds are the types of parameters and outputs, by lower-case name, with the value's kind.
var kinds = map[string]string{"string": "string", "securestring": "string", "int": "int", "bool": "bool", "object": "object", "secureobject": "object", "array": "array"}

func isSecure(kind string) bool { return strings.HasPrefix(strings.ToLower(kind), "secure") }

// shownKind is how the reference spells a type in what it sends.
func shownKind(kind string) string {
	switch low := strings.ToLower(kind); low {
	case "securestring":
		return "SecureString"
	case "secureobject":
		return "SecureObject"
	case "":
		return ""
	default:
		return strings.ToUpper(low[:1]) + low[1:]
	}
}

// loadParameters takes what is given, and defaults for the rest.
func (d *Deployment) loadParameters(declared, given map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if _, ok := find(declared, name); !ok {
			return unknown("parameter in this template called", name, slices.Collect(maps.Keys(declared)))
		}
	}
	// defaults may use other parameters: those that are given come first, then the others until nothing changes.
	missing := map[string]map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		p, ok := declared[name].(map[string]any)
		if !ok {
			return fmt.Errorf("template.parameters.%s must be an object with a type", name)
		}
		kind, _ := p["type"].(string)
		if _, ok := kinds[strings.ToLower(kind)]; !ok {
			return fmt.Errorf("template.parameters.%s.type is '%s'; it must be one of: %s", name, kind, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
		}
		v, ok, err := valueOf(name, given)
		if err != nil {
			return err
		}
		if !ok {
			missing[name] = p
			continue
		}
		if err := d.setParameter(name, p, v); err != nil {
			return err
		}
	}
	return d.defaults(missing)
}

// valueOf is the value given for a parameter; null counts as not given.
func valueOf(name string, given map[string]any) (any, bool, error) {
	raw, ok := find(given, name)
	if !ok {
		return nil, false, nil
	}
	g, ok := raw.(map[string]any)
	if !ok {
		return nil, false, fmt.Errorf("parameters.%s must be an object with a value: {\"%s\": {\"value\": …}}", name, name)
	}
	if _, ok := g["reference"]; ok {
		return nil, false, fmt.Errorf("parameters.%s refers to a key vault, which there is none of here; give its value", name)
	}
	v, ok := g["value"]
	return v, ok && v != nil, nil
}

func (d *Deployment) defaults(missing map[string]map[string]any) error {
	for len(missing) > 0 {
		before, failed := len(missing), error(nil)
		for _, name := range slices.Sorted(maps.Keys(missing)) {
			p := missing[name]
			raw, ok := p["defaultValue"]
			if nullable, _ := p["nullable"].(bool); !ok && !nullable {
				return fmt.Errorf("parameters.%s is missing: the template has no default for it", name)
			}
			v, err := env{d: d, inParameter: true}.value("template.parameters."+name+".defaultValue", raw)
			if err != nil {
				failed = d.static(err, "template.parameters."+name+".defaultValue")
				continue
			}
			if err := d.setParameter(name, p, v); err != nil {
				return err
			}
			delete(missing, name)
		}
		if len(missing) == before {
			return failed
		}
	}
	return nil
}

func (d *Deployment) setParameter(name string, p map[string]any, v any) error {
	kind, _ := p["type"].(string)
	where := "parameters." + name
	if nullable, _ := p["nullable"].(bool); v != nil || !nullable && p["defaultValue"] != nil {
		if err := checkKind(where, kind, v); err != nil {
			return err
		}
		if err := checkBounds(where, kind, p, v); err != nil {
			return err
		}
	}
	d.parameters[name] = parameter{kind: kind, value: v, secure: isSecure(kind)}
	return env{d: d}.charge(v)
}

// checkKind compares a value with a type; the value is not in the error, as it may be secret.
func checkKind(where, kind string, v any) error {
	want, ok := kinds[strings.ToLower(kind)]
	switch {
	case !ok:
		return fmt.Errorf("%s.type is '%s'; it must be one of: %s", where, kind, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
	case v == nil && want == "object", kindOf(v) == want:
		return nil
	}
	return fmt.Errorf("%s must be of type %s, but its value is of type %s", where, kind, kindOf(v))
}

// checkBounds applies allowedValues, minValue, maxValue, minLength and maxLength.
func checkBounds(where, kind string, p map[string]any, v any) error {
	if allowed, ok := p["allowedValues"].([]any); ok && !slices.ContainsFunc(allowed, func(a any) bool { return same(a, v) }) {
		if isSecure(kind) {
			return fmt.Errorf("%s has a value that is not allowed", where)
		}
		return fmt.Errorf("%s is %s; allowed are: %s", where, text(v), text(allowed))
	}
	size, what := int64(0), "Length"
	switch v := v.(type) {
	case int64:
		size, what = v, "Value"
	case string:
		size = int64(len([]rune(v)))
	case []any:
		size = int64(len(v))
	default:
		return nil
	}
	if least, ok := p["min"+what].(int64); ok && size < least {
		return fmt.Errorf("%s is below min%s, which is %d", where, what, least)
	}
	if most, ok := p["max"+what].(int64); ok && size > most {
		return fmt.Errorf("%s is above max%s, which is %d", where, what, most)
	}
	return nil
}

// Parameters are all parameters with their values, as Load takes them; with secrets.
func (d *Deployment) Parameters() map[string]any {
	out := map[string]any{}
	for name, p := range d.parameters {
		out[name] = map[string]any{"value": p.value}
	}
	return out
}

// Shown are the parameters as they may be read: those of secure types have no value.
func (d *Deployment) Shown() map[string]any {
	out := map[string]any{}
	for name, p := range d.parameters {
		shown := map[string]any{"type": shownKind(p.kind)}
		if !p.secure {
			shown["value"] = p.value
		}
		out[name] = shown
	}
	return out
}
