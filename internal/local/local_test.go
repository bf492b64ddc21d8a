package local

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/local/component"
	"fairlead.dev/fairlead/internal/local/netplan"
)

func fakePrograms(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, n := range component.Names() {
		if err := os.WriteFile(filepath.Join(dir, n), []byte(n), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestConfigure(t *testing.T) {
	t.Setenv("FAIRLEAD_CACHE_DIR", t.TempDir())
	programs := fakePrograms(t)
	kubeconfig := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(kubeconfig, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	plan, err := netplan.Parse("10.250.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	three := Config{Nodes: 3, Plan: plan, Port: 9000}
	tests := map[string]struct {
		options   Options
		old       Config
		exists    bool
		wantNodes int
		wantPort  int
		wantErr   string
	}{
		"first time":                  {options: Options{}, wantNodes: 1},
		"as it was":                   {options: Options{}, old: three, exists: true, wantNodes: 3, wantPort: 9000},
		"grows":                       {options: Options{Nodes: 5}, old: three, exists: true, wantNodes: 5, wantPort: 9000},
		"does not shrink":             {options: Options{Nodes: 1}, old: three, exists: true, wantErr: "--nodes 1: the cluster has 3 nodes"},
		"too many":                    {options: Options{Nodes: 51}, wantErr: "--nodes 51: want 1 to 50"},
		"another kind of cluster":     {options: Options{Kubeconfig: kubeconfig}, old: three, exists: true, wantErr: "run `fairlead down` first"},
		"a kubeconfig that is not":    {options: Options{Kubeconfig: kubeconfig + "x"}, wantErr: "--kubeconfig"},
		"existing cluster":            {options: Options{Kubeconfig: kubeconfig}, wantNodes: 1},
		"existing cluster once more":  {options: Options{Kubeconfig: kubeconfig}, old: Config{Kubeconfig: kubeconfig, Port: 1234}, exists: true, wantNodes: 1, wantPort: 1234},
		"another port":                {options: Options{Port: 7000}, old: three, exists: true, wantNodes: 3, wantPort: 7000},
		"programs that are not built": {options: Options{Components: []string{"/nowhere"}}, wantErr: "not built"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := tt.options
			o.Folder = Folder(t.TempDir())
			if o.Components == nil {
				o.Components = []string{programs}
			}
			c, err := o.configure(tt.old, tt.exists)
			if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Fatalf("error %v, want %q", err, tt.wantErr)
			}
			if err == nil && (c.Nodes != tt.wantNodes || tt.wantPort != 0 && c.Port != tt.wantPort || c.Port == 0) {
				t.Errorf("nodes %d port %d, want %d and %d", c.Nodes, c.Port, tt.wantNodes, tt.wantPort)
			}
		})
	}
}

func TestConfigure_KeepsPublicURL(t *testing.T) {
	t.Setenv("FAIRLEAD_CACHE_DIR", t.TempDir())
	kubeconfig := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(kubeconfig, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	old := Config{Kubeconfig: kubeconfig, Port: 1234, PublicURL: "https://192.0.2.2:1234"}
	c, err := Options{Kubeconfig: kubeconfig}.configure(old, true)
	if err != nil || c.PublicURL != old.PublicURL {
		t.Errorf("public URL %q, %v; want it to stay %q", c.PublicURL, err, old.PublicURL)
	}
}

func TestConfigHash_SeesRebuiltPrograms(t *testing.T) {
	t.Setenv("FAIRLEAD_CACHE_DIR", t.TempDir())
	o := Options{Folder: Folder(t.TempDir()), Components: []string{fakePrograms(t)}}
	before, err := o.configure(Config{}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(before.Components, "kube"), []byte("rebuilt"), 0o755); err != nil {
		t.Fatal(err)
	}
	after, err := o.configure(before, true)
	if err != nil || after.hash() == before.hash() {
		t.Errorf("hash %s, want another than %s, %v", after.hash(), before.hash(), err)
	}
}

func TestTrimLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	for name, tt := range map[string]struct{ content, want string }{
		"small stays": {"0123456789", "0123456789"},
		"large is cut": {
			strings.Repeat("x", 80) + "the newest twenty-5 bytes", "[older lines were dropped]\nthe newest twenty-5 bytes",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := trimLog(path, 100); err != nil {
				t.Fatal(err)
			}
			got, _ := os.ReadFile(path)
			if d := cmp.Diff(tt.want, string(got)); d != "" {
				t.Errorf("content (-want +got):\n%s", d)
			}
		})
	}
}

func TestLogs(t *testing.T) {
	f := Folder(t.TempDir())
	if _, err := LogNames(f); err == nil || !strings.Contains(err.Error(), "fairlead up") {
		t.Errorf("error %v, want how to start a cluster", err)
	}
	for name, text := range map[string]string{"etcd": "a\nb\nc\n", "kubelet@0": "k\n"} {
		if err := os.MkdirAll(f.Path("logs"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.Log(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	for _, name := range []string{"etcd", "kubelet"} {
		if err := Logs(t.Context(), f, name, 2, false, &out); err != nil {
			t.Error(err)
		}
	}
	if d := cmp.Diff("b\nc\nk\n", out.String()); d != "" {
		t.Errorf("output (-want +got):\n%s", d)
	}
	if err := Logs(t.Context(), f, "kublet", 2, false, &out); err == nil || !strings.Contains(err.Error(), "etcd, kubelet@0") {
		t.Errorf("error %v, want the names there are", err)
	}
}

// TestFollowFile appends only after what was there has been read, and ends the following when it has come through.
func TestFollowFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	if err := os.WriteFile(path, []byte("old\nnew\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- followFile(ctx, path, 4, w) }()
	read := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
			t.Fatalf("followed %q, %v; want %q", got, err, want)
		}
	}
	read("new\n")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("newer\n"); err != nil {
		t.Fatal(err)
	}
	read("newer\n")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestURL(t *testing.T) {
	plan, err := netplan.Parse("10.250.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Plan: plan, Port: 8440}
	if got := c.URL(); got != "https://10.250.0.1:8440" {
		t.Errorf("URL %s", got)
	}
	for url, loopback := range map[string]bool{
		"https://example.com": false, "https://example.com:8440": false, "https://192.0.2.7:8440": false,
		"https://127.0.0.1:8440": true, "https://localhost:8440": true, "https://[::1]:8440": true,
	} {
		c.PublicURL = url
		if c.URL() != url || c.Loopback() != loopback {
			t.Errorf("URL %s, loopback %t, want %s, %t", c.URL(), c.Loopback(), url, loopback)
		}
	}
}

func TestFreePort(t *testing.T) {
	for name, tt := range map[string]struct {
		free func(int) bool
		want int
	}{
		"the first":        {func(int) bool { return true }, 100},
		"the next":         {func(p int) bool { return p > 101 }, 102},
		"all are in use":   {func(int) bool { return false }, 100},
		"not beyond ten":   {func(p int) bool { return p == 110 }, 100},
		"the last of them": {func(p int) bool { return p == 109 }, 109},
	} {
		if got := freePort(100, tt.free); got != tt.want {
			t.Errorf("%s: port %d, want %d", name, got, tt.want)
		}
	}
}
