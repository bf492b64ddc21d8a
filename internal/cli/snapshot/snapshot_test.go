package snapshot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	s, err := Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range s.Files {
		out = append(out, f.Rel)
	}
	return out
}

func TestTake_Ignore(t *testing.T) {
	files := map[string]string{
		"train.py": "1", "a.log": "1", "data/big.bin": "1", "data/keep.csv": "1", "sub/b.log": "1", "sub/c.py": "1",
		".git/config": "1", "__pycache__/x.pyc": "1", "sub/build/out.o": "1", "build/x": "1",
	}
	for name, tc := range map[string]struct {
		extra map[string]string
		want  []string
	}{
		"no rules": {nil, []string{"a.log", "build/x", "data/big.bin", "data/keep.csv", "sub/b.log", "sub/build/out.o", "sub/c.py", "train.py"}},
		"gitignore": {map[string]string{".gitignore": "*.log\n/build/\n"},
			[]string{".gitignore", "data/big.bin", "data/keep.csv", "sub/build/out.o", "sub/c.py", "train.py"}},
		"any depth": {map[string]string{".gitignore": "build/\n"},
			[]string{".gitignore", "a.log", "data/big.bin", "data/keep.csv", "sub/b.log", "sub/c.py", "train.py"}},
		"negation": {map[string]string{".gitignore": "data/*\n!data/keep.csv\n"},
			[]string{".gitignore", "a.log", "build/x", "data/keep.csv", "sub/b.log", "sub/build/out.o", "sub/c.py", "train.py"}},
		"nested gitignore": {map[string]string{"sub/.gitignore": "*.py\n"},
			[]string{"a.log", "build/x", "data/big.bin", "data/keep.csv", "sub/.gitignore", "sub/b.log", "sub/build/out.o", "train.py"}},
		"amlignore wins": {map[string]string{".gitignore": "*.py\n", ".amlignore": "*.log\ndata\n.*ignore\n", "sub/.gitignore": "*.py\n"},
			[]string{"build/x", "sub/build/out.o", "sub/c.py", "train.py"}},
		"double star": {map[string]string{".amlignore": "**/build/**\n# comment\n\n*.log \n"},
			[]string{".amlignore", "data/big.bin", "data/keep.csv", "sub/c.py", "train.py"}},
	} {
		t.Run(name, func(t *testing.T) {
			all := map[string]string{}
			for k, v := range files {
				all[k] = v
			}
			for k, v := range tc.extra {
				all[k] = v
			}
			if diff := cmp.Diff(tc.want, names(t, tree(t, all))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTake_Hash(t *testing.T) {
	hash := func(files map[string]string) string {
		s, err := Take(tree(t, files))
		if err != nil {
			t.Fatal(err)
		}
		return s.Hash
	}
	a := hash(map[string]string{"a": "1", "b/c": "2"})
	if b := hash(map[string]string{"b/c": "2", "a": "1"}); a != b {
		t.Error("the same files in another folder have another hash")
	}
	for what, files := range map[string]map[string]string{
		"content": {"a": "1", "b/c": "3"}, "name": {"a": "1", "b/d": "2"}, "border": {"a": "12", "b/c": ""}, "more": {"a": "1", "b/c": "2", "d": ""},
	} {
		if hash(files) == a {
			t.Errorf("another %s has the same hash", what)
		}
	}
}

func TestTake_Links(t *testing.T) {
	dir := tree(t, map[string]string{"a": "1", "sub/b": "2"})
	if err := os.Symlink(filepath.Join(dir, "a"), filepath.Join(dir, "sub", "to-a")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "sub/b", "sub/to-a"}, names(t, dir)); diff != "" {
		t.Error(diff)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "sub", "up")); err != nil {
		t.Fatal(err)
	}
	if _, err := Take(dir); err == nil || !strings.Contains(err.Error(), `link "sub/up" leads back to a folder above it`) {
		t.Errorf("got %v", err)
	}
}

func TestTake_Errors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Take(dir); err == nil || !strings.Contains(err.Error(), "holds no file to upload") {
		t.Errorf("got %v", err)
	}
	if _, err := Take(filepath.Join(dir, "none")); err == nil {
		t.Error("a missing folder was taken")
	}
	bad := tree(t, map[string]string{".amlignore": "[a\n", "x": ""})
	if _, err := Take(bad); err == nil || !strings.Contains(err.Error(), `.amlignore: line 1: pattern "[a"`) {
		t.Errorf("got %v", err)
	}
}

func FuzzRules(f *testing.F) {
	f.Add("*.log\n!a.log\n/b/\n**/c/**\n[ab]?\n", "x/a.log")
	f.Add(strings.Repeat("**/", 40)+"x\n", strings.Repeat("a/", 200)+"b") // took years when every ** was tried everywhere
	f.Fuzz(func(t *testing.T, text, rel string) {
		rules, err := ParseRules(text)
		if err != nil {
			return
		}
		rules.Match(rel, false)
		rules.Match(rel, true)
	})
}
