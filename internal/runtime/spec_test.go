package runtime

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/commonruntime"
)

const goodSpec = `{"version":"2","name":"r","command":"true","artifacts":"https://h/blob/a/c/x","blobBase":"https://h/blob"}`

func TestParseSpecRefuses(t *testing.T) {
	with := func(field string) string { return strings.TrimSuffix(goodSpec, "}") + "," + field + "}" }
	tests := map[string]struct{ doc, says string }{
		"no json":             {"{", "parsing job spec"},
		"too large":           {strings.Repeat(" ", MaxSpec+1), "at most"},
		"no command":          {with(`"command":" "`), "no command"},
		"artifacts elsewhere": {with(`"artifacts":"https://evil/x"`), "not below blobBase"},
		"timeout":             {with(`"timeoutSeconds":-1`), "-1"},
		"code scheme":         {with(`"code":"file:///etc"`), "file:///etc"},
		"input name":          {with(`"inputs":{"../x":{"type":"uri_file","url":"https://h/x"}}`), `"../x"`},
		"input scheme":        {with(`"inputs":{"x":{"type":"uri_file","url":"gopher://h/x"}}`), "gopher"},
		"output name":         {with(`"outputs":{"a/b":{"type":"uri_file","url":"https://h/x"}}`), `"a/b"`},
		"variable":            {with(`"environment":{"A=B":"c"}`), `"A=B"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseSpec([]byte(tt.doc)); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v lacks %q", err, tt.says)
			}
		})
	}
	if _, err := ParseSpec([]byte(goodSpec)); err != nil {
		t.Error(err)
	}
}

func TestSubstitute(t *testing.T) {
	in, out := map[string]string{"a": "/in/${{outputs.b}}", "long.name-1": "L"}, map[string]string{"b": "/out"}
	tests := map[string]struct{ command, want, err string }{
		"both":         {"x ${{inputs.a}} ${{ outputs.b }}", "x /in/${{outputs.b}} /out", ""},
		"names":        {"${{inputs.long.name-1}}", "L", ""},
		"shell stays":  {"$HOME ${X} $(y)", "$HOME ${X} $(y)", ""},
		"unknown":      {"${{inputs.z}}", "", "${{inputs.z}}"},
		"unknown kind": {"${{search_space.lr}}", "", "search_space"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := substitute(tt.command, in, out)
			if tt.err == "" && (err != nil || got != tt.want) {
				t.Errorf("got %q, %v", got, err)
			}
			if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v lacks %q", err, tt.err)
			}
		})
	}
}

func TestTensorFlowNeedsAPodForEachRole(t *testing.T) {
	if _, err := newGang(Config{NodeCount: 3}, &commonruntime.Distribution{Type: "TensorFlow", WorkerCount: 3, ParameterServerCount: 1}); err == nil {
		t.Error("four roles on three pods were accepted")
	}
}

// TestGangVariables: what every process of a gang is told of it, whatever the distribution.
func TestGangVariables(t *testing.T) {
	tensorflow := &commonruntime.Distribution{Type: "TensorFlow", WorkerCount: 2, ParameterServerCount: 1}
	tests := map[string]struct {
		cfg  Config
		dist *commonruntime.Distribution
		want map[string]string
	}{
		"single": {Config{NodeCount: 1}, nil, map[string]string{
			"AZUREML_NODE_COUNT": "1", "AZUREML_CR_NODE_RANK": "0", "AMLARC_NUM_WORKER": "1", "AMLARC_NUM_PS": "0",
			"VC_WORKER_NUM": "1", "VC_WORKER_HOSTS": "127.0.0.1", "VC_TASK_INDEX": "0", "VK_TASK_INDEX": "0",
			"AZUREML_CR_DISTRIBUTED_CONFIG": `{"rank":"VK_TASK_INDEX","host_list":["127.0.0.1"]}`}},
		"mpi": {Config{NodeCount: 1, PodIP: "10.0.0.7"}, &commonruntime.Distribution{Type: "Mpi", ProcessCountPerInstance: 1}, map[string]string{
			"AZUREML_NODE_COUNT": "1", "AZUREML_CR_NODE_RANK": "0", "AMLARC_NUM_WORKER": "1", "AMLARC_NUM_PS": "0",
			"VC_WORKER_NUM": "1", "VC_WORKER_HOSTS": "127.0.0.1", "VC_TASK_INDEX": "0", "VK_TASK_INDEX": "0",
			"AZUREML_CR_DISTRIBUTED_CONFIG": `{"rank":"VK_TASK_INDEX","host_list":["127.0.0.1"]}`,
			"AZ_BATCHAI_MPI_MASTER_NODE":    "127.0.0.1", "AZ_BATCH_MASTER_NODE": "127.0.0.1:6105",
			"AZ_BATCH_HOST_LIST": "127.0.0.1", "AZ_BATCHAI_JOB_MASTER_NODE_IP": "10.0.0.7"}},
		"parameter server": {Config{NodeCount: 3, Rank: 2, Hosts: "h{rank}.s"}, tensorflow, map[string]string{
			"AZUREML_NODE_COUNT": "3", "AZUREML_CR_NODE_RANK": "2", "AMLARC_NUM_WORKER": "2", "AMLARC_NUM_PS": "1",
			"VC_WORKER_NUM": "2", "VC_WORKER_HOSTS": "h0.s,h1.s", "VC_PS_NUM": "1", "VC_PS_HOSTS": "h2.s", "VC_TASK_INDEX": "0", "VK_TASK_INDEX": "2",
			"AZUREML_CR_DISTRIBUTED_CONFIG": `{"rank":"VK_TASK_INDEX","host_list":["h0.s","h1.s","h2.s"]}`,
			"TF_CONFIG":                     `{"cluster":{"ps":["h2.s:2222"],"worker":["h0.s:2222","h1.s:2222"]},"task":{"type":"ps","index":0},"environment":"cloud"}`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g, err := newGang(tt.cfg, tt.dist)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, g.environ(0)); diff != "" {
				t.Errorf("variables (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTokenExpiry(t *testing.T) {
	for token, want := range map[string]int64{
		"e30.eyJleHAiOjE3OTAwMDAwMDB9.c2ln": 1790000000,
		"e30.e30.c2ln":                      0, "opaque": 0, "a.%.b": 0, "a.YQ.b": 0,
	} {
		if got := tokenExpiry(token); got != want {
			t.Errorf("%s: %d, want %d", token, got, want)
		}
	}
}

func TestFromEnvironment(t *testing.T) {
	c, err := FromEnvironment([]string{"FAIRLEAD_RANK=2", "FAIRLEAD_ATTEMPT=1", "AZUREML_NODE_COUNT=4", "FAIRLEAD_POD_UID=u", "FAIRLEAD_HOSTS=h"})
	if err != nil || c.Rank != 2 || c.Attempt != 1 || c.NodeCount != 4 || c.PodUID != "u" || c.Hosts != "h" || c.RetryFor == 0 {
		t.Errorf("config %+v, %v", c, err)
	}
	for _, kv := range []string{"FAIRLEAD_RANK=x", "FAIRLEAD_ATTEMPT=-1"} {
		if _, err := FromEnvironment([]string{kv}); err == nil || !strings.Contains(err.Error(), strings.Split(kv, "=")[0]) {
			t.Errorf("%s: %v", kv, err)
		}
	}
}

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "bin", "fairlead-runtime")
	if err := os.WriteFile(src, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again over itself
		if err := Install(src, dst); err != nil {
			t.Fatal(err)
		}
	}
	fi, err := os.Stat(dst)
	if err != nil || fi.Mode().Perm() != 0o755 || fi.Size() != 7 {
		t.Errorf("installed %v, %v", fi, err)
	}
}

func FuzzParseSpec(f *testing.F) {
	f.Add([]byte(goodSpec))
	f.Add([]byte(`{"version":"2","inputs":{"..":{}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSpec(b)
		if err != nil {
			return
		}
		for name := range s.Inputs {
			if p := filepath.Join("/w/inputs", name); filepath.Dir(p) != "/w/inputs" {
				t.Errorf("input %q leads to %s", name, p)
			}
		}
	})
}

func FuzzLocalName(f *testing.F) {
	for _, s := range []string{"a/b", "../x", "/etc/passwd", "a/../../b", "a//b", "./c", "a\x00b", `..\x`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		local, err := localName(name)
		if err != nil {
			return
		}
		if p := filepath.Join("/w/d", local); !strings.HasPrefix(p, "/w/d/") && p != "/w/d" {
			t.Errorf("%q leads to %s", name, p)
		}
	})
}

func FuzzBaseName(f *testing.F) {
	f.Add("https://h/a/b.csv?x=1")
	f.Add("https://h/a/..%2f..")
	f.Fuzz(func(t *testing.T, u string) {
		if n := baseName(u); filepath.Dir(filepath.Join("/w", n)) != "/w" {
			t.Errorf("%q gives %q", u, n)
		}
	})
}

func FuzzEncodeResult(f *testing.F) {
	f.Add("message", "code")
	f.Add(strings.Repeat("\u2028<", 3000), "x")
	f.Fuzz(func(t *testing.T, msg, code string) {
		if len(code) > 100 {
			return
		}
		b := EncodeResult(commonruntime.Result{Message: msg, Code: code})
		var r commonruntime.Result
		if len(b) > maxResult || json.Unmarshal(b, &r) != nil || !utf8.ValidString(r.Message) {
			t.Errorf("encoded %d bytes: %s", len(b), b)
		}
	})
}
