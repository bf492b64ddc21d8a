package clusterconnect

import (
	"encoding/json"
	"errors"
	"net/http"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// status is an error in the form that Kubernetes' clients read.
type status struct {
	Kind       string   `json:"kind"`
	APIVersion string   `json:"apiVersion"`
	Metadata   struct{} `json:"metadata"`
	Status     string   `json:"status"`
	Message    string   `json:"message"`
	Reason     string   `json:"reason,omitempty"`
	Code       int      `json:"code"`
}

// reasons are Kubernetes' words for the codes that this package answers with.
var reasons = map[int]string{
	http.StatusUnauthorized: "Unauthorized", http.StatusForbidden: "Forbidden", http.StatusNotFound: "NotFound",
	http.StatusInternalServerError: "InternalError", http.StatusBadGateway: "ServiceUnavailable", http.StatusServiceUnavailable: "ServiceUnavailable",
}

// fail answers with an error: the one place where it becomes a Status.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	public, ok := errors.AsType[*arm.Error](err)
	switch {
	case errors.Is(err, store.ErrNotFound):
		public = arm.Errorf(http.StatusNotFound, "ResourceNotFound", "there is no such connected cluster; 'fairlead connectedk8s list' shows those there are")
	case !ok:
		h.cfg.Log.ErrorContext(r.Context(), "passing on a Kubernetes request", "error", err)
		public = arm.Errorf(http.StatusInternalServerError, "InternalServerError", "the control plane could not do this because of an error of its own; its log says more")
	case public.Cause != nil:
		h.cfg.Log.WarnContext(r.Context(), "passing on a Kubernetes request", "code", public.Code, "error", public.Cause)
	}
	if public.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(public.Status)
	_ = json.NewEncoder(w).Encode(status{Kind: "Status", APIVersion: "v1", Status: "Failure", Message: public.Message, Reason: reasons[public.Status], Code: public.Status})
}
