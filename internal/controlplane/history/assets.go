package history

import (
	"encoding/json"
	"net/http"
	"strings"

	"fairlead.dev/fairlead/api/arm"
)

// DataPrefix is the path prefix of the service that says where outputs of runs are.
const DataPrefix = "/data/v1.0/"

// maxAssets is how many assets one request resolves.
const maxAssets = 1000

// handleAssets adds the service: {"values":[asset id, …]} is answered with {"values":{asset id:{"uri"}}}. The id of an output is the
// place where it is.
func (s *Server) handleAssets(mux *http.ServeMux) {
	const workspace = "subscriptions/{s}/{resourceGroups}/{g}/providers/{ns}/{workspaces}/{w}/"
	mux.HandleFunc("POST "+DataPrefix+workspace+"dataversion/batchGetResolvedUris", s.handle(s.resolve))
	mux.HandleFunc(DataPrefix, s.handle(func(http.ResponseWriter, *http.Request) error {
		return arm.Errorf(http.StatusNotFound, "NotFound", "There is no such operation on data, which is a resource of the workspace.")
	}))
}

func (s *Server) resolve(w http.ResponseWriter, r *http.Request) error {
	if err := s.mayRead(r); err != nil {
		return err
	}
	var req struct {
		Values []string `json:"values"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<20)).Decode(&req); err != nil {
		return arm.Invalid("", "The body is not {\"values\":[…]}: %v.", err)
	}
	if len(req.Values) > maxAssets {
		return arm.Invalid("values", "values has %d entries; at most %d are allowed.", len(req.Values), maxAssets)
	}
	out := map[string]map[string]string{}
	for _, id := range req.Values {
		if !strings.HasPrefix(id, "azureml://") {
			return arm.Invalid("values", "values has %.200q, which is not the assetId of an output; those begin with azureml://.", id)
		}
		out[id] = map[string]string{"uri": id}
	}
	return writeJSON(w, map[string]any{"values": out})
}

// outputType is the type of an output as it is told here: models are told as the folders that they are, since azure-ai-ml asks a
// service of its own for models and fails in its own code before it does.
func outputType(t string) string {
	switch t {
	case "custom_model", "mlflow_model", "triton_model":
		return "uri_folder"
	}
	return t
}
