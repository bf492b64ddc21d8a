package cli

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// gitProperties tells from which commit the code comes; nothing where git or a repository is missing. Credentials in
// the remote's address are left out.
func gitProperties(ctx context.Context, dir string) map[string]string {
	if st, err := os.Stat(dir); err == nil && !st.IsDir() {
		dir = filepath.Dir(dir)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	git := func(args ...string) (string, bool) {
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "--no-optional-locks"}, args...)...)
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err == nil
	}
	out := map[string]string{}
	commit, ok := git("rev-parse", "HEAD")
	if !ok {
		return out
	}
	set := func(value string, keys ...string) {
		for _, k := range keys {
			if value != "" {
				out[k] = value
			}
		}
	}
	set(commit, "azureml.git.commit", "mlflow.source.git.commit")
	branch, _ := git("symbolic-ref", "--short", "-q", "HEAD")
	set(branch, "azureml.git.branch", "mlflow.source.git.branch")
	remote, _ := git("ls-remote", "--get-url")
	if strings.ContainsAny(remote, ":/") {
		set(withoutCredentials(remote), "azureml.git.repository_uri", "mlflow.source.git.repoURL")
	}
	if status, ok := git("status", "--porcelain", "--untracked-files=no", "."); ok {
		set(map[bool]string{true: "True", false: "False"}[status != ""], "azureml.git.dirty")
	}
	return out
}

func withoutCredentials(remote string) string {
	u, err := url.Parse(remote)
	if err != nil || u.User == nil {
		return remote
	}
	u.User = nil
	return u.String()
}
