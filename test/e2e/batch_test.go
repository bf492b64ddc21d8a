//go:build cluster

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBatch has a folder scored on two pods, one of which is deleted in the middle: every file is scored, and none has two rows.
func TestBatch(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for i := range 10 {
		write(t, dir, fmt.Sprintf("numbers/n%d.txt", i), fmt.Sprint(i))
		want = append(want, fmt.Sprintf("n%d.txt: %d", i, i*7))
	}
	write(t, dir, "model/factor.txt", "7")
	// Until the job has started again, one of the files takes forever.
	write(t, dir, "src/score.py", `import os, pathlib, time

def init():
    global factor
    factor = int(next(pathlib.Path(os.environ["AZUREML_MODEL_DIR"]).rglob("factor.txt")).read_text())

def run(mini_batch):
    if os.environ["FAIRLEAD_ATTEMPT"] == "0" and any(p.endswith("n3.txt") for p in mini_batch):
        print("stuck", flush=True)
        time.sleep(3600)
    return ["%s: %d" % (os.path.basename(p), factor * int(open(p).read())) for p in mini_batch]
`)
	write(t, dir, "blue.yml", "name: blue\nendpoint_name: folders\nmodel: {path: model}\ncode_configuration: {code: src, scoring_script: score.py}\n"+
		"environment: {image: fairlead/python-ml:bookworm}\ncompute: azureml:"+compute+"\nresources: {instance_count: 2}\nsettings: {mini_batch_size: 2, retry_settings: {timeout: 7200}}\n")
	must(t, ml("batch-endpoint", "create", "-n", "folders", "-o", "none")...)
	defer func() { must(t, ml("batch-endpoint", "delete", "-n", "folders", "--yes")...) }()
	must(t, ml("batch-deployment", "create", "-f", filepath.Join(dir, "blue.yml"), "--set-default", "-o", "none")...)
	must(t, ml("batch-endpoint", "invoke", "-n", "folders", "--input", filepath.Join(dir, "numbers"), "--job-name", "folder", "-o", "none")...)
	const pods = "ml.azure.com/run-id=folder"
	eventually(t, startLimit, "a mini-batch that is stuck", func(context.Context) error {
		logs, said, _ := cliOutput("kubectl", "logs", "-n", "default", "-l", pods, "-c", "main", "--tail=-1") // fails while a pod has not begun
		if !strings.Contains(logs, "stuck") {
			return fmt.Errorf("the pods say %q, kubectl %q", logs, said)
		}
		return nil
	})
	kubectl(t, "delete", "pod", "-n", "default", "-l", pods, "--wait=false")
	s := awaitStatus(t, "folder", "Completed", startLimit)
	if s.Properties["fairlead.attempt"] != "1" || s.Properties["azureml.batchrun"] != "true" {
		t.Errorf("properties %v", s.Properties)
	}
	must(t, ml("job", "download", "-n", "folder", "--output-name", "score", "-p", dir)...)
	rows, err := os.ReadFile(filepath.Join(dir, "named-outputs/score/predictions.csv"))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(string(rows)), "\n")
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	// What pods shared goes with the job.
	eventually(t, startLimit, "no bookkeeping among the run's artifacts", func(context.Context) error {
		all := t.TempDir()
		must(t, ml("job", "download", "-n", "folder", "-p", all)...)
		if left, err := filepath.Glob(filepath.Join(all, "*", ".batch", "*")); err != nil || len(left) > 0 {
			return fmt.Errorf("there is %v, %w", left, err)
		}
		return nil
	})
	if jobs := must(t, append(ml("batch-endpoint", "list-jobs", "-n", "folders", "--query", "[].name"), "-o", "tsv")...); strings.TrimSpace(jobs) != "folder" {
		t.Errorf("jobs %q", jobs)
	}
}

// TestBatchMLflow has a table scored by a model that a job left in MLflow's format, without a script.
func TestBatchMLflow(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "src/train.py", `import pathlib, pickle, sys
from sklearn.tree import DecisionTreeClassifier
out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
(out / "MLmodel").write_text("flavors:\n  sklearn:\n    pickled_model: model.pkl\n")
(out / "model.pkl").write_bytes(pickle.dumps(DecisionTreeClassifier().fit([[1], [2]], [10, 20])))
`)
	write(t, dir, "train.yml", "name: flow\ncommand: python3 train.py ${{outputs.model}}\ncode: src\noutputs: {model: {type: mlflow_model}}\nenvironment: {image: fairlead/python-ml:bookworm}\ncompute: azureml:"+compute+"\n")
	write(t, dir, "blue.yml", "name: blue\nendpoint_name: flows\nmodel: {path: azureml://jobs/flow/outputs/model, type: mlflow_model}\n"+
		"environment: {image: fairlead/python-ml:bookworm}\ncompute: azureml:"+compute+"\n")
	write(t, dir, "rows/a.csv", "x\n2\n1\n")
	must(t, ml("job", "create", "-f", filepath.Join(dir, "train.yml"), "-o", "none")...)
	must(t, ml("batch-endpoint", "create", "-n", "flows", "-o", "none")...)
	defer func() { must(t, ml("batch-endpoint", "delete", "-n", "flows", "--yes")...) }()
	awaitStatus(t, "flow", "Completed", startLimit)
	must(t, ml("batch-deployment", "create", "-f", filepath.Join(dir, "blue.yml"), "--set-default", "-o", "none")...)
	must(t, ml("batch-endpoint", "invoke", "-n", "flows", "--input", filepath.Join(dir, "rows"), "--job-name", "flow-scored", "-o", "none")...)
	awaitStatus(t, "flow-scored", "Completed", startLimit)
	must(t, ml("job", "download", "-n", "flow-scored", "--output-name", "score", "-p", dir)...)
	rows, err := os.ReadFile(filepath.Join(dir, "named-outputs/score/predictions.csv"))
	if err != nil || string(rows) != "0,20,a.csv\n1,10,a.csv\n" {
		t.Errorf("%q, %v", rows, err)
	}
}
