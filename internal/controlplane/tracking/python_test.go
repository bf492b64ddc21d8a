//go:build python

package tracking_test

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
)

// TestSameAsMLflowInPython makes the same calls with MLflow's client to a workspace and to MLflow's own store, and compares what both answer.
// PYTHON is a Python that has mlflow-skinny, sqlalchemy and alembic; scripts/test makes one.
func TestSameAsMLflowInPython(t *testing.T) {
	python := os.Getenv("PYTHON")
	if python == "" {
		t.Fatal("PYTHON is not set; give the path of a Python with the packages mlflow-skinny, sqlalchemy and alembic")
	}
	w := newWorld(t)
	srv := httptest.NewServer(w.server.Handler())
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), python, "testdata/same.py", srv.URL+"/mlflow/v1.0"+typestest.Workspace, "sqlite:///"+filepath.Join(dir, "theirs.db"))
	cmd.Env = append(os.Environ(), "HOME="+dir, "MLFLOW_TRACKING_TOKEN=any")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}
