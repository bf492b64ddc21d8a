package component

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// modulePatch is the changes of one module.
type modulePatch struct {
	module, version string
	edits           []edit
	// files maps files of the module to other contents; those that are to have none are removed.
	files map[string]string
}

// edit replaces one text in one file of a module.
type edit struct{ file, old, new string }

// The patches let modules compile with the same client-go and controller-runtime as the rest of Fairlead, so that these
// exist in one version only and are compiled once, and keep out what costs minutes to compile.
var patches = []modulePatch{{
	// Written for a controller-runtime whose webhook builder was not generic yet. Nothing of its behaviour changes.
	module: jobsetModule, version: "v0.10.1",
	edits: []edit{{
		file: "pkg/webhooks/jobset_webhook.go",
		old:  "NewWebhookManagedBy(mgr).\n\t\tFor(&jobset.JobSet{}).\n\t\tWithDefaulter(j).\n\t\tWithValidator(j).",
		new:  "NewWebhookManagedBy(mgr, &jobset.JobSet{}).\n\t\tWithCustomDefaulter(j).\n\t\tWithCustomValidator(j).",
	}, {
		file: "pkg/webhooks/pod_mutating_webhook.go",
		old:  "NewWebhookManagedBy(mgr).\n\t\tFor(&corev1.Pod{}).\n\t\tWithDefaulter(p).\n\t\tWithValidator(p).",
		new:  "NewWebhookManagedBy(mgr, &corev1.Pod{}).\n\t\tWithCustomDefaulter(p).\n\t\tWithCustomValidator(p).",
	}},
}, {
	// client-go asks two more things of a store since; nobody asks this one, which is only written to. And no released
	// client_golang can add the version of client-go to the metric of the program's own.
	module: stateMetricsModule, version: "v2.18.0",
	edits: []edit{{
		file: "pkg/metrics_store/metrics_store.go",
		old:  "// Resync implements the Resync method of the store interface.\n",
		new: "// Bookmark and LastStoreSyncResourceVersion are for stores that others read.\n" +
			"func (s *MetricsStore) Bookmark(string)                      {}\n" +
			"func (s *MetricsStore) LastStoreSyncResourceVersion() string { return \"\" }\n\n" +
			"// Resync implements the Resync method of the store interface.\n",
	}, {
		file: "pkg/app/server.go",
		old: "NewCollector(\"kube_state_metrics\", versionCollector.WithExtraConstLabels(\n" +
			"\t\tprometheus.Labels{\"client_go_version\": ClientGoVersion},\n\t)))\n",
		new: "NewCollector(\"kube_state_metrics\"))\n",
	}},
}, {
	// The libraries behind /api/v1/openapi.yaml take twice as long to compile as all the rest of Prometheus.
	module: prometheusModule, version: "v0.311.3",
	files: map[string]string{
		"web/api/v1/openapi.go":          noOpenAPI,
		"web/api/v1/openapi_examples.go": "",
		"web/api/v1/openapi_helpers.go":  "",
		"web/api/v1/openapi_paths.go":    "",
		"web/api/v1/openapi_schemas.go":  "",
		"web/api/v1/test_helpers.go":     "",
	},
}}

const noOpenAPI = `package v1

import (
	"log/slog"
	"net/http"
)

// OpenAPIOptions are those of the description of the API.
type OpenAPIOptions struct {
	IncludePaths         []string
	ExternalURL, Version string
}

// OpenAPIBuilder describes nothing.
type OpenAPIBuilder struct{}

// NewOpenAPIBuilder makes one.
func NewOpenAPIBuilder(OpenAPIOptions, *slog.Logger) *OpenAPIBuilder { return &OpenAPIBuilder{} }

// ServeOpenAPI answers that there is no description.
func (*OpenAPIBuilder) ServeOpenAPI(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }

// WrapHandler returns the handler as it is.
func (*OpenAPIBuilder) WrapHandler(next http.HandlerFunc) http.HandlerFunc { return next }
`

// apply changes a copy of the module.
func (p modulePatch) apply(dir string) error {
	var errs []error
	for _, e := range p.edits {
		errs = append(errs, e.apply(dir))
	}
	for _, file := range slices.Sorted(maps.Keys(p.files)) {
		errs = append(errs, replaceFile(filepath.Join(dir, filepath.FromSlash(file)), p.files[file]))
	}
	return errors.Join(errs...)
}

// replaceFile insists that the file is there.
func replaceFile(path, content string) error {
	if content == "" {
		return os.Remove(path)
	}
	if _, err := os.Stat(path); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

// apply replaces the text once and insists that it was there once.
func (e edit) apply(dir string) error {
	path := filepath.Join(dir, filepath.FromSlash(e.file))
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if n := strings.Count(string(data), e.old); n != 1 {
		return fmt.Errorf("%s: the text to replace occurs %d times, want once", e.file, n)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(data), e.old, e.new, 1)), 0o644)
}
