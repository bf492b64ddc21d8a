//go:build python

package runtime

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// saveModels saves models as their users do, with the signature of named columns and with that of a tensor.
const saveModels = `
import sys
import mlflow.sklearn
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
data = load_iris(as_frame=True)
def save(name, x):
    model = LogisticRegression(max_iter=500).fit(x, data.target)
    mlflow.sklearn.save_model(model, sys.argv[1] + "/" + name, signature=infer_signature(x, model.predict(x)), serialization_format="cloudpickle",
        pip_requirements=["scikit-learn"])  # finding them out takes minutes
save("named", data.data)
save("tensor", data.data.to_numpy().astype("float32"))
`

// TestMLflowInPython: models that the real mlflow saved are served without a scoring script, by whatever form callers of the reference and of
// MLflow use. PYTHON is a Python with mlflow, pandas and scikit-learn; scripts/test makes one.
func TestMLflowInPython(t *testing.T) {
	python := os.Getenv("PYTHON")
	if python == "" {
		t.Fatal("PYTHON is not set; give the path of a Python with the packages mlflow-skinny, pandas and scikit-learn")
	}
	dir := t.TempDir()
	if out, err := exec.Command(python, "-c", saveModels, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const columns = `"columns": ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]`
	for model, misfit := range map[string]string{"named": "the model takes sepal length", "tensor": "signature"} {
		t.Run(model, func(t *testing.T) {
			s := newScorer(t, filepath.Dir(python), "", "AZUREML_MODEL_DIR="+filepath.Join(dir, model), "WORKER_COUNT=1").ready()
			for _, body := range []string{
				`{"input_data": [[5.1, 3.5, 1.4, 0.2], [6.7, 3, 5.2, 2.3]]}`,
				`{"input_data": {` + columns + `, "index": [0, 1], "data": [[5, 3, 1, 0], [7, 3, 5, 2]]}}`, // whole numbers for doubles
				`{"dataframe_split": {` + columns + `, "data": [[5.1, 3.5, 1.4, 0.2], [6.7, 3, 5.2, 2.3]]}}`,
				`{"inputs": [[5.1, 3.5, 1.4, 0.2], [6.7, 3, 5.2, 2.3]]}`,
			} {
				s.says("POST", "/score", body, http.StatusOK, "[0, 2]")
			}
			s.says("POST", "/score", `{"input_data": [[1, 2]]}`, http.StatusBadRequest, misfit)
			s.says("POST", "/score", `{"rows": 1}`, http.StatusBadRequest, "input_data")
		})
	}
}
