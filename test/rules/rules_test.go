package rules

import (
	"bufio"
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	module   = "fairlead.dev/fairlead"
	maxLines = 800
)

// forbidden says what a package and all it depends on may not link, and why.
var forbidden = []struct {
	pkg, prefix, why string
}{
	{"./internal/cli", "helm.sh/helm", "the CLI gets the installer injected from cmd/fairlead"},
	{"./internal/cli", "modernc.org/sqlite", "the CLI talks to a server, never to a database"},
	{"./internal/cli", "github.com/jackc/pgx", "the CLI talks to a server, never to a database"},
	{"./internal/cli", "sigs.k8s.io/controller-runtime", "the CLI runs no controllers"},
	{"./cmd/fairlead-runtime", "k8s.io/", "the runtime is copied into every job's pod and stays small"},
	{"./cmd/fairlead-runtime", "sigs.k8s.io/", "the runtime is copied into every job's pod and stays small"},
	{"./cmd/fairlead-runtime", "gocloud.dev", "the runtime speaks the blob protocol itself"},
	{"./cmd/fairlead-runtime", "helm.sh/helm", "the runtime is copied into every job's pod and stays small"},
	{"./cmd/fairlead-router", "helm.sh/helm", "the router only serves"},
	{"./cmd/fairlead-router", "modernc.org/sqlite", "the router only serves"},
	{"./cmd/fairlead-router", "github.com/jackc/pgx", "the router only serves"},
	{"./cmd/fairlead-router", "sigs.k8s.io/controller-runtime", "the router reads the cluster by plain informers"},
	{"./internal/link", "k8s.io/", "the link is the contract of both sides: stdlib, one WebSocket and one multiplexing library"},
	{"./internal/extensionsettings", "k8s.io/", "the command line, the control plane and the agent all link it: stdlib only"},
	{"./internal/link", "sigs.k8s.io/", "the link is the contract of both sides: stdlib, one WebSocket and one multiplexing library"},
	{"./internal/controlplane/...", "helm.sh/helm", "charts are installed in the cluster"},
	{"./internal/controlplane/...", "sigs.k8s.io/controller-runtime/pkg/manager", "the control plane reconciles over SQL"},
}

func TestDependencies(t *testing.T) {
	for _, f := range forbidden {
		t.Run(f.pkg+" without "+f.prefix, func(t *testing.T) {
			for _, dep := range goList(t, "-deps", f.pkg) {
				if strings.HasPrefix(dep, f.prefix) {
					t.Errorf("%s links %s: %s", f.pkg, dep, f.why)
				}
			}
		})
	}
}

func TestHelmStaysInOnePackage(t *testing.T) {
	format := `{{range .Imports}}{{$.ImportPath}} {{.}}{{"\n"}}{{end}}`
	for _, line := range goList(t, "-f", format, "./...") {
		importer, imported, _ := strings.Cut(line, " ")
		if strings.HasPrefix(imported, "helm.sh/helm") && importer != module+"/internal/cluster/extension/helm" {
			t.Errorf("%s imports %s; only internal/cluster/extension/helm may", importer, imported)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	documented := map[string]bool{}
	eachGoFile(t, func(path string, src []byte) {
		dir := filepath.Dir(path)
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, src, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		documented[dir] = documented[dir] || hasDoc(file)
	})
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package in %s has no comment that says what it is", dir)
		}
	}
}

func hasDoc(f *ast.File) bool { return f.Doc != nil && strings.TrimSpace(f.Doc.Text()) != "" }

func TestFilesStayReadable(t *testing.T) {
	eachGoFile(t, func(path string, src []byte) {
		if strings.HasSuffix(path, "_test.go") || bytes.Contains(src, []byte("DO NOT EDIT")) {
			return
		}
		if n := bytes.Count(src, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines; split it below %d", path, n, maxLines)
		}
	})
}

func TestGofmt(t *testing.T) {
	out, err := exec.Command("gofmt", "-l", root(t)+"/api", root(t)+"/cmd", root(t)+"/internal", root(t)+"/charts", root(t)+"/test", root(t)+"/localcluster").CombinedOutput()
	if err != nil {
		t.Fatalf("running gofmt: %v\n%s", err, out)
	}
	if len(out) > 0 {
		t.Errorf("not formatted; run gofmt -w on:\n%s", out)
	}
}

func eachGoFile(t *testing.T, visit func(path string, src []byte)) {
	t.Helper()
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "testdata" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		visit(path, src)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	var lines []string
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		if line := strings.TrimSpace(s.Text()); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}
