package sync

import (
	"encoding/json"
	"net/http"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/link"
)

// folder answers an extension how to reach the datastore of a claim. The answer holds a token: nothing on the way may keep it.
func (s *server) folder(w http.ResponseWriter, r *http.Request, p resource.Principal) error {
	if p.Kind != "Extension" || s.Folder == nil {
		return arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "Datastores of claims are for extensions; the token is of kind %q.", p.Kind)
	}
	data, err := readBody(w, r)
	if err != nil {
		return err
	}
	var q link.FolderRequest
	if err := json.Unmarshal(data, &q); err != nil {
		return arm.Invalid("", "The body is not {\"compute\":…,\"datastore\":…,\"namespace\":…}: %v.", err)
	}
	f, err := s.Folder(r.Context(), p.Scope, q)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	return json.NewEncoder(w).Encode(f)
}
