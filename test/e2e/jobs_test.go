//go:build cluster

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// header begins every job file of the suite. Job names are fixed: the suite's control plane is new every time.
const header = `$schema: https://azuremlschemas.azureedge.net/latest/commandJob.schema.json
type: command
experiment_name: e2e
environment:
  image: fairlead/python-ml:bookworm
compute: azureml:k8s
`

const startLimit = 2 * time.Minute

func TestJob_TakesInputsAndGivesOutputs(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "data/numbers.txt", "1\n2\n3\n")
	write(t, dir, "src/add.py", "import sys\nprint('sum', sum(int(line) for line in open(sys.argv[1])))\n")
	write(t, dir, "job.yml", header+`code: src
command: >-
  python3 add.py ${{inputs.one}} && ls ${{inputs.all}} && echo "${{inputs.word}} $AZURE_ML_INPUT_word" &&
  mkdir -p outputs && echo kept > outputs/extra.txt && echo done > ${{outputs.result}}/result.txt
inputs:
  word: bonjour
  one: {type: uri_file, path: data/numbers.txt, mode: download}
  all: {type: uri_folder, path: data, mode: download}
outputs:
  result: {type: uri_folder, mode: upload}
`)
	create := ml("job", "create", "-f", filepath.Join(dir, "job.yml"), "-o", "json")
	out := must(t, append(create, "--name", "inout", "--stream")...)
	for _, want := range []string{"RunId: inout", "sum 6", "numbers.txt", "bonjour bonjour", "Execution Summary"} {
		if !strings.Contains(out, want) {
			t.Errorf("the stream lacks %q:\n%s", want, out)
		}
	}
	to := filepath.Join(dir, "got")
	must(t, ml("job", "download", "-n", "inout", "--all", "-p", to)...)
	for file, want := range map[string]string{
		"artifacts/outputs/extra.txt":                "kept\n",
		"named-outputs/result/result.txt":            "done\n",
		"artifacts/user_logs/std_log.txt":            "sum 6\nnumbers.txt\nbonjour bonjour\n",
		"artifacts/system_logs/claim-0-0":            "",
		"artifacts/system_logs/fairlead_runtime.log": "",
	} {
		got, err := os.ReadFile(filepath.Join(to, file))
		if err != nil {
			t.Error(err)
		} else if want != "" && string(got) != want {
			t.Errorf("%s holds %q, want %q", file, got, want)
		}
	}

	t.Run("the same code is not uploaded again", func(t *testing.T) {
		must(t, append(create, "--name", "inout2")...)
		if a, b := show(t, "inout").Code, show(t, "inout2").Code; a != b || a == "" {
			t.Errorf("code %q and %q, want the same snapshot", a, b)
		}
		awaitStatus(t, "inout2", "Completed", startLimit)
	})
}

func TestJob_FailureCarriesTheExitCode(t *testing.T) {
	submit(t, "exit3", header+"command: echo about to fail; exit 3\n")
	s := awaitStatus(t, "exit3", "Failed", startLimit)
	if s.Properties["fairlead.exitCode"] != "3" || s.Properties["fairlead.statusReason"] != "NonZeroExit" {
		t.Errorf("properties %v", s.Properties)
	}
	stdout, stderr, err := cliOutput(ml("job", "stream", "-n", "exit3")...)
	if err == nil || !strings.Contains(stdout, "about to fail") || !strings.Contains(stderr, "3") {
		t.Errorf("stream of a failed job: %v\n%s\n%s", err, stdout, stderr)
	}
}

func TestJob_EndsAtItsTimeLimit(t *testing.T) {
	submit(t, "timeout", header+"command: sleep 300\nlimits: {timeout: 3}\n")
	s := awaitStatus(t, "timeout", "Failed", startLimit)
	if s.Properties["fairlead.statusReason"] != "Timeout" {
		t.Errorf("properties %v", s.Properties)
	}
}

func TestJob_Cancel(t *testing.T) {
	submit(t, "cancel", header+"command: trap 'echo asked to stop; exit 0' TERM; echo ready; while true; do sleep 0.1; done\n")
	awaitStatus(t, "cancel", "Running", startLimit)
	must(t, ml("job", "cancel", "-n", "cancel")...)
	awaitStatus(t, "cancel", "Canceled", startLimit)
	log, _, err := cliOutput(ml("job", "stream", "-n", "cancel")...)
	if err == nil || !strings.Contains(log, "asked to stop") {
		t.Errorf("stream of a canceled job: %v; the command was to be asked to stop before it was killed:\n%s", err, log)
	}
}

func TestJob_SaysWhyItWaits(t *testing.T) {
	for name, c := range map[string]struct {
		yaml, reason, message string
	}{
		"too-big":  {header + "command: 'true'\nresources: {instance_type: huge}\n", "Unschedulable", `cpu.*huge|huge.*cpu`},
		"no-image": {strings.Replace(header, "fairlead/python-ml:bookworm", "nowhere.invalid/missing:1", 1) + "command: 'true'\n", "ImagePull", `nowhere\.invalid/missing:1`},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "too-big" {
				instanceType(t, "huge", "900")
			}
			submit(t, name, c.yaml)
			s := await(t, name, startLimit, func(s jobState) bool { return s.Properties["fairlead.statusReason"] == c.reason })
			if !regexp.MustCompile(c.message).MatchString(s.Properties["fairlead.statusMessage"]) {
				t.Errorf("message %q does not match %s", s.Properties["fairlead.statusMessage"], c.message)
			}
			must(t, ml("job", "cancel", "-n", name)...)
			awaitStatus(t, name, "Canceled", startLimit)
		})
	}
}

func TestJob_LiveLogHasSeveralReaders(t *testing.T) {
	submit(t, "readers", header+"command: for i in $(seq 1 60); do echo line $i; sleep 0.1; done\n")
	var readers sync.WaitGroup
	logs := make([]string, 3)
	for i := range logs {
		readers.Go(func() {
			out, err := cli(ml("job", "stream", "-n", "readers")...)
			if err != nil {
				t.Error(err)
			}
			logs[i] = out
		})
	}
	readers.Wait()
	for i, log := range logs {
		if got, want := lines(log, "line "), counted("line ", 60); got != want {
			t.Errorf("reader %d got\n%s", i, got)
		}
	}
}

func TestJob_ArchiveHidesAndRestoreShows(t *testing.T) {
	submit(t, "archive", header+"command: 'true'\n")
	awaitStatus(t, "archive", "Completed", startLimit)
	listed := func(args ...string) bool {
		var jobs []struct{ Name string }
		if err := json.Unmarshal([]byte(must(t, ml(append([]string{"job", "list", "-o", "json"}, args...)...)...)), &jobs); err != nil {
			t.Fatal(err)
		}
		for _, j := range jobs {
			if j.Name == "archive" {
				return true
			}
		}
		return false
	}
	must(t, ml("job", "archive", "-n", "archive")...)
	if listed() || !listed("--archived-only") {
		t.Error("an archived job is listed as active, or not as archived")
	}
	must(t, ml("job", "restore", "-n", "archive")...)
	if !listed() {
		t.Error("a restored job is not listed")
	}
}

// instanceType makes an instance type that asks for so many cores.
func instanceType(t *testing.T, name, cpu string) {
	t.Helper()
	applyType(t, name, fmt.Sprintf(`requests: {cpu: "%s", memory: 64Mi}`, cpu), fmt.Sprintf(`limits: {cpu: "%s", memory: 64Mi}`, cpu))
}

// applyType makes an instance type, and waits until the control plane knows it: a job that names an unknown one is refused.
func applyType(t *testing.T, name, requests, limits string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "type.yml")
	write(t, filepath.Dir(file), "type.yml", fmt.Sprintf(`apiVersion: amlarc.azureml.com/v1alpha1
kind: InstanceType
metadata: {name: %s}
spec:
  resources:
    %s
    %s
`, name, requests, limits))
	kubectl(t, "apply", "-f", file)
	id := strings.TrimSpace(must(t, ml("compute", "show", "-n", compute, "--query", "id", "-o", "tsv")...))
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(200 * time.Millisecond) {
		if strings.Contains(must(t, "rest", "--method", "get", "--url", id+"?api-version=2024-04-01"), name) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("instance type %s does not show in %s", name, id)
		}
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// lines keeps the lines of a log that begin with prefix.
func lines(log, prefix string) string {
	var kept strings.Builder
	for line := range strings.Lines(log) {
		if strings.HasPrefix(line, prefix) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// counted is the log of a job that counts to n.
func counted(prefix string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s%d\n", prefix, i+1)
	}
	return b.String()
}
