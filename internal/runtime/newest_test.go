package runtime

import (
	"strings"
	"testing"

	"fairlead.dev/fairlead/api/commonruntime"
)

// TestSuperseded runs a pod that its cluster has given up: another attempt begins while its command runs.
func TestSuperseded(t *testing.T) {
	p := newPod(t, `mkfifo fifo; echo old; read x < fifo; echo old > outputs/o.txt; echo old > logs/l.txt; echo old > "$AZURE_ML_OUTPUT_result/r.txt"`)
	p.spec.Outputs = map[string]commonruntime.Output{"result": {Type: "uri_folder", Mode: "ReadWriteMount", URL: p.blobs.Base + "/acct/cont/result"}}
	old, began := p.cfg, p.out.has("old")
	done := make(chan commonruntime.Result, 1)
	go func() { done <- p.run(t.Context()) }()
	<-began

	again := newPod(t, `echo new > outputs/o.txt; echo new > "$AZURE_ML_OUTPUT_result/r.txt"`)
	again.blobs, again.spec.BlobBase, again.spec.Artifacts, again.spec.Outputs = p.blobs, p.spec.BlobBase, p.spec.Artifacts, p.spec.Outputs
	again.cfg.HTTP, again.cfg.Attempt, again.cfg.PodUID = p.cfg.HTTP, 1, "pod-b"
	if r := again.run(t.Context()); r.ExitCode != 0 {
		t.Fatalf("the new attempt: %+v", r)
	}

	p.write(old.codeDir()+"/fifo", "go\n")
	if r := <-done; r.Code != CodeSuperseded || !strings.Contains(r.Message, "started the job again") {
		t.Errorf("the old attempt: %+v", r)
	}
	for name, want := range map[string]string{artifacts + "outputs/o.txt": "new\n", "acct/cont/result/r.txt": "new\n",
		artifacts + "user_logs/std_log.txt": "old\n", artifacts + "logs/l.txt": "old\n"} {
		if got, _ := p.blobs.Get(name); got != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
}

// TestLateAttempt starts a pod of an attempt that never began before the one after it.
func TestLateAttempt(t *testing.T) {
	p := newPod(t, "echo ran")
	p.cfg.Attempt = 2
	if r := p.run(t.Context()); r.ExitCode != 0 {
		t.Fatalf("result %+v", r)
	}
	late := newPod(t, "echo ran late")
	late.blobs, late.spec.BlobBase, late.spec.Artifacts = p.blobs, p.spec.BlobBase, p.spec.Artifacts
	late.cfg.HTTP, late.cfg.Attempt, late.cfg.PodUID = p.cfg.HTTP, 1, "pod-b"
	if r := late.run(t.Context()); r.Code != CodeAlreadyClaimed || late.out.String() != "" {
		t.Errorf("result %+v, output %q", r, late.out.String())
	}
}
