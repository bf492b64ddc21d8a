package types

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// object is body[name] as an object, made when absent.
func object(body map[string]any, name string) (map[string]any, error) {
	v, ok := body[name]
	if !ok || v == nil {
		m := map[string]any{}
		body[name] = m
		return m, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, arm.Invalid(name, "%s is %s; it must be an object.", name, jsonKind(v))
	}
	return m, nil
}

func jsonKind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	}
	return "a number"
}

// embedded are names of embedded structs in the path that package json gives; fields of JSON begin with a small letter.
var embedded = regexp.MustCompile(`\b[A-Z]\w*\.`)

// decode reads m into v; an error names the field.
func decode(m map[string]any, v any) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding properties: %w", err)
	}
	err = json.Unmarshal(raw, v)
	var te *json.UnmarshalTypeError
	if errors.As(err, &te) {
		field := "properties." + embedded.ReplaceAllString(te.Field, "")
		return arm.Invalid(field, "%s is %s; it must be %s.", field, article(te.Value), wanted(te.Type.Kind().String()))
	}
	if err != nil {
		return arm.Invalid("properties", "properties cannot be read: %v.", err)
	}
	return nil
}

// textLabels writes numbers and booleans among tags and properties as text, which all of them are: azure-ai-ml sends some as they are.
func textLabels(props map[string]any) {
	for _, name := range []string{"tags", "properties"} {
		m, _ := props[name].(map[string]any)
		for k, v := range m {
			switch v.(type) {
			case bool, float64, json.Number:
				raw, _ := json.Marshal(v) // of these always works
				m[k] = string(raw)
			}
		}
	}
}

func article(word string) string {
	if word == "array" || word == "object" {
		return "an " + word
	}
	return "a " + word
}

func wanted(kind string) string {
	switch {
	case kind == "string":
		return "a string"
	case kind == "bool":
		return "true or false"
	case strings.HasPrefix(kind, "int"):
		return "a whole number"
	case kind == "slice":
		return "an array"
	}
	return "an object"
}

// overlay writes v's fields over those of m and keeps the fields that v does not have.
func overlay(m map[string]any, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding properties: %w", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return fmt.Errorf("decoding properties: %w", err)
	}
	for k, f := range fields {
		m[k] = f
	}
	return nil
}

// oldProperties is the properties object of the stored record, nil when there is none.
func oldProperties(old *store.Record) (map[string]any, error) {
	if old == nil {
		return nil, nil
	}
	var body struct {
		Properties map[string]any `json:"properties"`
	}
	if err := json.Unmarshal(old.Body, &body); err != nil {
		return nil, fmt.Errorf("decoding body of %s: %w", old.Key, err)
	}
	return body.Properties, nil
}

// restore puts the stored values of read-only fields in the place of what the caller sent for them.
func restore(m, old map[string]any, fields ...string) {
	for _, f := range fields {
		delete(m, f)
		if v, ok := old[f]; ok {
			m[f] = v
		}
	}
}

// enum finds value among the allowed words in any case.
func enum(target, value string, allowed ...string) (string, error) {
	for _, a := range allowed {
		if strings.EqualFold(a, value) {
			return a, nil
		}
	}
	if value == "" {
		return "", arm.Invalid(target, "%s is missing; it must be one of: %s.", target, strings.Join(allowed, ", "))
	}
	return "", arm.Invalid(target, "%s is %q; it must be one of: %s.", target, value, strings.Join(allowed, ", "))
}

// unmarshalProperties reads a record's properties object.
func unmarshalProperties(rec store.Record, v any) error {
	var body struct {
		Properties json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		return fmt.Errorf("decoding body of %s: %w", rec.Key, err)
	}
	if len(body.Properties) == 0 {
		return nil
	}
	if err := json.Unmarshal(body.Properties, v); err != nil {
		return fmt.Errorf("decoding properties of %s: %w", rec.Key, err)
	}
	return nil
}

// field is a string field of a record's properties, "" when absent.
func field(rec store.Record, name string) string {
	props, err := oldProperties(&rec)
	if err != nil {
		return ""
	}
	s, _ := props[name].(string)
	return s
}

// topString is a string field of a record's body, "" when absent.
func topString(rec store.Record, name string) string {
	var body map[string]any
	if json.Unmarshal(rec.Body, &body) != nil {
		return ""
	}
	s, _ := body[name].(string)
	return s
}

// unmarshalBody reads a record's whole body.
func unmarshalBody(rec store.Record, v any) error {
	if err := json.Unmarshal(rec.Body, v); err != nil {
		return fmt.Errorf("decoding body of %s: %w", rec.Key, err)
	}
	return nil
}
