package component

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// modulePatch is the edits of one module.
type modulePatch struct {
	module, version string
	edits           []edit
}

// edit replaces one text in one file of a module.
type edit struct{ file, old, new string }

// JobSet's last served version was written for a controller-runtime whose webhook builder was not generic yet. With
// these edits it compiles with the one that the rest of Fairlead uses, so client-go and controller-runtime exist in one
// version only and are compiled once. Nothing of its behaviour changes.
var patches = []modulePatch{{
	module: "sigs.k8s.io/jobset", version: JobSetVersion,
	edits: []edit{{
		file: "pkg/webhooks/jobset_webhook.go",
		old:  "NewWebhookManagedBy(mgr).\n\t\tFor(&jobset.JobSet{}).\n\t\tWithDefaulter(j).\n\t\tWithValidator(j).",
		new:  "NewWebhookManagedBy(mgr, &jobset.JobSet{}).\n\t\tWithCustomDefaulter(j).\n\t\tWithCustomValidator(j).",
	}, {
		file: "pkg/webhooks/pod_mutating_webhook.go",
		old:  "NewWebhookManagedBy(mgr).\n\t\tFor(&corev1.Pod{}).\n\t\tWithDefaulter(p).\n\t\tWithValidator(p).",
		new:  "NewWebhookManagedBy(mgr, &corev1.Pod{}).\n\t\tWithCustomDefaulter(p).\n\t\tWithCustomValidator(p).",
	}},
}}

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
