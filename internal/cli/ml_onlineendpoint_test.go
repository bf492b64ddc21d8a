package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/cli/spec"
)

// TestUpdateOfIdentity: it replaces what there is, so that an endpoint has no identity that its file does not name.
func TestUpdateOfIdentity(t *testing.T) {
	old := map[string]any{"identity": map[string]any{"type": "UserAssigned", "userAssignedIdentities": map[string]any{"/old": map[string]any{"clientId": "c"}}}, "tags": map[string]any{"a": "b"}}
	for name, c := range map[string]struct {
		given spec.ManagedIdentity
		want  any
	}{
		"nothing said":  {spec.ManagedIdentity{}, old["identity"]},
		"its own":       {spec.ManagedIdentity{Type: "SystemAssigned"}, map[string]any{"type": "SystemAssigned"}},
		"none":          {spec.ManagedIdentity{Type: "None"}, map[string]any{"type": "None"}},
		"the first one": {spec.ManagedIdentity{Type: "UserAssigned", UserAssigned: []string{" new", "/other"}}, map[string]any{"type": "UserAssigned", "userAssignedIdentities": map[string]any{"/new": map[string]any{}}}},
	} {
		body := map[string]any{}
		if id := managedIdentity(c.given); id != nil {
			body["identity"] = id
		}
		got := withIdentity(overlay(old, body), body)
		if diff := cmp.Diff(c.want, got["identity"]); diff != "" || got["tags"] == nil {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
