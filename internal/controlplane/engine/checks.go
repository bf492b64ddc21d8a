package engine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// maxName is the longest resource name, in bytes.
const maxName = 260

func checkName(t *resource.Type, id arm.ID) error {
	name := id.Name()
	help := ""
	switch {
	case t.NameRule != nil && !t.NameRule.MatchString(name):
		help = t.NameHelp
		if help == "" {
			help = "it must match " + t.NameRule.String()
		}
	case len(name) > maxName:
		help = fmt.Sprintf("it has %d bytes; at most %d are allowed", len(name), maxName)
	case strings.TrimSpace(name) != name || strings.HasSuffix(name, "."):
		help = "it must not begin or end with a space, nor end with a period"
	case strings.ContainsAny(name, `<>&:*"|`):
		help = `it must not contain any of < > & : * " |`
	default:
		return nil
	}
	return &arm.Error{Status: http.StatusBadRequest, Code: "InvalidResourceName", Target: "name",
		Message: fmt.Sprintf("The resource name '%s' is invalid for %s/%s: %s.", name, t.Namespace, t.Name, strings.TrimSuffix(help, "."))}
}

// checkEnvelope checks the parts of a body that are the same for all types.
func checkEnvelope(body map[string]any) error {
	if v, ok := body["location"]; ok && v != nil {
		if _, ok := v.(string); !ok {
			return arm.Invalid("location", "location must be a string, not %s.", kindOf(v))
		}
	}
	for _, field := range []string{"properties", "identity", "tags"} {
		v, ok := body[field]
		if !ok || v == nil {
			continue
		}
		if _, ok := v.(map[string]any); !ok {
			return arm.Invalid(field, "%s must be an object, not %s.", field, kindOf(v))
		}
	}
	tags, _ := body["tags"].(map[string]any)
	for k, v := range tags {
		if _, ok := v.(string); !ok {
			return arm.Invalid("tags."+k, "The value of tag '%s' must be a string, not %s.", k, kindOf(v))
		}
	}
	return nil
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case float64:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "an array"
	}
	return "an object"
}

// stripReadOnly removes what the server alone sets; clients send back whole resources as they read them.
func stripReadOnly(body map[string]any) {
	for _, f := range []string{"id", "name", "type", "systemData", "etag"} {
		delete(body, f)
	}
	if props, ok := body["properties"].(map[string]any); ok {
		delete(props, "provisioningState")
	}
}

// ETag is the entity tag of a record, with its quotes.
func ETag(rec store.Record) string { return fmt.Sprintf(`"%x-%x"`, rec.Seq, rec.Version) }

func checkMatch(old *store.Record, ifMatch, ifNoneMatch string, id arm.ID) error {
	failed := func(format string, args ...any) error {
		return arm.Errorf(http.StatusPreconditionFailed, "PreconditionFailed", format, args...)
	}
	if ifMatch != "" {
		if old == nil {
			return failed("If-Match is '%s' but '%s' does not exist.", ifMatch, id)
		}
		if !matches(ifMatch, ETag(*old)) {
			return failed("If-Match is '%s' but '%s' has etag '%s': it was changed since you read it. Read it again and repeat the request.", ifMatch, id, ETag(*old))
		}
	}
	if ifNoneMatch != "" && old != nil && matches(ifNoneMatch, ETag(*old)) {
		return failed("If-None-Match is '%s' but '%s' exists with etag '%s'.", ifNoneMatch, id, ETag(*old))
	}
	return nil
}

// matches compares a header of entity tags with one tag; quotes and W/ may be missing or present.
func matches(header, etag string) bool {
	bare := func(s string) string {
		return strings.Trim(strings.TrimPrefix(strings.TrimSpace(s), "W/"), `"`)
	}
	for one := range strings.SplitSeq(header, ",") {
		if b := bare(one); b == "*" || b == bare(etag) {
			return true
		}
	}
	return false
}

// mergeable are the envelope's fields that a PATCH may change.
var mergeable = []string{"tags", "identity", "properties", "sku"}

// MergeEnvelope is the default PATCH: RFC 7396 on tags, identity, sku and properties.
func MergeEnvelope(old, patch json.RawMessage) (json.RawMessage, error) {
	var to, from map[string]any
	if err := json.Unmarshal(old, &to); err != nil {
		return nil, fmt.Errorf("decoding stored body: %w", err)
	}
	if err := json.Unmarshal(patch, &from); err != nil || from == nil {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content must be a JSON object.")
	}
	if to == nil {
		to = map[string]any{}
	}
	for _, f := range mergeable {
		v, ok := from[f]
		switch {
		case !ok:
		case v == nil:
			delete(to, f)
		default:
			to[f] = Merge(to[f], v)
		}
	}
	return json.Marshal(to)
}

// Merge is RFC 7396: an object is merged member by member, null removes, anything else replaces.
func Merge(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for k, v := range p {
		if v == nil {
			delete(t, k)
			continue
		}
		t[k] = Merge(t[k], v)
	}
	return t
}
