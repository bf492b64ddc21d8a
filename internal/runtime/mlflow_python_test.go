//go:build python

package runtime

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/fairlead/api/commonruntime"
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

// mlflowPython is a Python with mlflow, pandas and scikit-learn.
func mlflowPython(t *testing.T) string {
	t.Helper()
	python := os.Getenv("PYTHON")
	if python == "" {
		t.Fatal("PYTHON is not set; give the path of a Python with the packages mlflow-skinny, pandas, pyarrow, pillow and scikit-learn")
	}
	return python
}

// runPython runs a program, and fails the test when it fails.
func runPython(t *testing.T, python, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(python, append([]string{"-c", program}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestMLflowInPython: models that the real mlflow saved are served without a scoring script, by whatever form callers of the reference and of
// MLflow use. PYTHON is a Python with mlflow, pandas and scikit-learn; scripts/test makes one.
func TestMLflowInPython(t *testing.T) {
	python := mlflowPython(t)
	dir := t.TempDir()
	runPython(t, python, saveModels, dir)
	const columns = `"columns": ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]`
	for model, misfit := range map[string]string{"named": "the model takes sepal length", "tensor": "signature"} {
		t.Run(model, func(t *testing.T) {
			at := filepath.Join(t.TempDir(), model) // as in a pod, where each file is a link to the node's copy
			if err := linkModel(filepath.Join(dir, model), at); err != nil {
				t.Fatal(err)
			}
			s := newScorer(t, filepath.Dir(python), "", "AZUREML_MODEL_DIR="+at, "WORKER_COUNT=1").ready()
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

// saveBatch saves models, and writes files for them to score: tables of the iris in every format, with a name that is a text of
// digits, and images of digits.
const saveBatch = `
import pathlib, sys
import mlflow.pyfunc, mlflow.sklearn, numpy, pandas
from PIL import Image
from mlflow.models import infer_signature
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
here = pathlib.Path(sys.argv[1])
for kind in ("tables", "images"):
    (here / kind).mkdir()
def save(name, model, x, y):
    mlflow.sklearn.save_model(model, here / name, signature=infer_signature(x, y), serialization_format="cloudpickle", pip_requirements=["scikit-learn"])
class Named(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [code + "!" for code in model_input["code"]]
iris = load_iris(as_frame=True).data
save("iris", LogisticRegression(max_iter=500).fit(iris, load_iris().target), iris, load_iris().target)
rows = iris.iloc[[0, 60, 120]].reset_index(drop=True)
rows.to_csv(here / "tables/a.csv", index=False)
rows.to_parquet(here / "tables/b.parquet")
(here / "tables/c.json").write_text(rows.to_json(orient="records"))
(here / "tables/d.jsonl").write_text(rows.to_json(orient="records", lines=True))
coded = pandas.DataFrame({"code": ["007", "010"]})
mlflow.pyfunc.save_model(here / "coded", python_model=Named(), signature=infer_signature(coded, ["007!"]), pip_requirements=[])
(here / "codes").mkdir()
coded.to_csv(here / "codes/a.csv", index=False)
digits = load_digits()
pixels = (digits.images * 15).astype("uint8")
save("digits", DecisionTreeClassifier(random_state=0).fit(pixels.reshape(-1, 64), digits.target), pixels.reshape(-1, 64), digits.target)
for i in (3, 5):
    Image.fromarray(pixels[i]).save(here / f"images/{i}.png")
(here / "mixed").mkdir()
rows.to_csv(here / "mixed/a.csv", index=False)
for name in ("b.txt", "c.data", "d"):
    rows.to_csv(here / "mixed" / name, index=False)
(here / "mixed/e.webp").write_bytes(b"RIFF\x00\xff\xfe\x00WEBP")
`

// TestBatchMLflowInPython: models that the real mlflow saved score tables and images without a scoring script.
func TestBatchMLflowInPython(t *testing.T) {
	python := mlflowPython(t)
	dir := t.TempDir()
	runPython(t, python, saveBatch, dir)
	const three = "0,0,%[1]s\n1,1,%[1]s\n2,2,%[1]s\n"
	for name, c := range map[string]struct{ model, files, code, says, want string }{
		"tables":          {model: "iris", files: "tables", want: fmt.Sprintf(three, "a.csv") + fmt.Sprintf(three, "b.parquet") + fmt.Sprintf(three, "c.json") + fmt.Sprintf(three, "d.jsonl")},
		"texts of digits": {model: "coded", files: "codes", want: "0,007!,a.csv\n1,010!,a.csv\n"},
		"images":          {model: "digits", files: "images", want: "0,3,3.png\n0,5,5.png\n"},
		"other endings are CSV": {model: "iris", files: "mixed", code: commonruntime.CodeFilesFailed, says: "e.webp cannot be scored",
			want: fmt.Sprintf(three, "a.csv") + fmt.Sprintf(three, "b.txt") + fmt.Sprintf(three, "c.data") + fmt.Sprintf(three, "d")},
		"a table that does not fit": {model: "iris", files: "codes", code: commonruntime.CodeFilesFailed, says: "a.csv cannot be scored"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := batchPod(t, 0, plainScore)
			p.cfg.Environ = []string{"PATH=" + filepath.Dir(python) + ":" + os.Getenv("PATH")}
			for input, folder := range map[string]string{"acct/data/in/": c.files, "acct/models/m/": c.model} {
				putFolder(t, p, filepath.Join(dir, folder), input)
			}
			p.spec.Code, p.spec.Batch.Script, p.spec.Batch.MiniBatchSize = "", "", 1
			r := p.run(t.Context())
			if r.ExitCode != 0 || r.Code != c.code || !strings.Contains(r.Message, c.says) {
				t.Fatalf("%+v, want code %q and %q\n%s", r, c.code, c.says, p.out)
			}
			if got, _ := p.blobs.Get("acct/out/score/predictions.csv"); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// putFolder puts a folder's files into the pod's storage.
func putFolder(t *testing.T, p *pod, folder, at string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		p.blobs.Put(at+filepath.ToSlash(name), string(raw))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
