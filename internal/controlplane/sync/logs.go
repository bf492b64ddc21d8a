package sync

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/link"
)

// LogTaker keeps lines of a cluster, which is named by its key and the number of its creation.
type LogTaker func(ctx context.Context, cluster string, seq int64, chunks []link.LogChunk) ([]link.LogCursor, error)

// maxLogName bounds each of a stream's names.
const maxLogName = 512

// logs takes lines of the cluster's containers and says how far each stream is kept.
func (s *server) logs(w http.ResponseWriter, r *http.Request, p resource.Principal) error {
	if s.Logs == nil {
		return arm.Errorf(http.StatusNotFound, "LogsNotKept", "This control plane keeps no logs.")
	}
	var req link.LogsRequest
	data, err := readBody(w, r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &req); err != nil {
		return arm.Invalid("", "The body is not {\"chunks\":[{\"namespace\":…,\"pod\":…,\"from\":…,\"to\":…,\"lines\":[…]}]}: %v.", err)
	}
	if len(req.Chunks) > link.MaxLogChunks {
		return arm.Invalid("chunks", "%d chunks; post at most %d at once.", len(req.Chunks), link.MaxLogChunks)
	}
	for i, c := range req.Chunks {
		if err := checkChunk(fmt.Sprintf("chunks[%d]", i), c); err != nil {
			return err
		}
	}
	cursors, err := s.Logs(r.Context(), p.Scope, p.ScopeSeq, req.Chunks)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(link.LogsState{Cursors: cursors})
}

func checkChunk(at string, c link.LogChunk) error {
	for _, f := range []struct {
		name, value string
		needed      bool
	}{{"namespace", c.Namespace, true}, {"pod", c.Pod, true}, {"uid", c.UID, true}, {"container", c.Container, true}, {"node", c.Node, false},
		{"job", c.Job, false}, {"workspace", c.Workspace, false}, {"from.file", c.From.File, false}, {"to.file", c.To.File, false}} {
		if f.needed && f.value == "" || len(f.value) > maxLogName {
			return arm.Invalid(at+"."+f.name, "%s.%s has %d bytes; want 1 to %d.", at, f.name, len(f.value), maxLogName)
		}
	}
	if c.From.Offset < 0 || c.To.Offset < 0 || c.Restart < 0 {
		return arm.Invalid(at, "%s has a negative offset or restart.", at)
	}
	if len(c.Lines) > 0 && c.From == c.To {
		return arm.Invalid(at+".to", "%s has lines but ends where it begins.", at)
	}
	return nil
}
