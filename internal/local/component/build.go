package component

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/local/cache"
)

const (
	// Tags leave out file systems that containerd does not need here, and from Prometheus the service discoveries of clouds.
	buildTags = "no_btrfs no_devmapper no_zfs remove_all_sd enable_kubernetes_sd"
	cacheKind = "components"
)

// linkFlags leave out symbols and tell the programs their versions, which their own builds do in the same way.
var linkFlags = strings.Join([]string{
	"-s -w",
	"-X k8s.io/component-base/version.gitVersion=" + KubernetesVersion,
	"-X k8s.io/component-base/version.gitMajor=" + kubernetesMinor()[0],
	"-X k8s.io/component-base/version.gitMinor=" + kubernetesMinor()[1],
	"-X k8s.io/component-base/version.gitTreeState=archive",
	"-X github.com/containerd/containerd/v2/version.Version=" + ContainerdVersion,
}, " ")

// linkArgs are the go command's arguments for linking. Projects keep their versions in the same variable, so each package
// has flags of its own; of those that fit, the go command takes the last.
func linkArgs() []string {
	args := []string{"-ldflags=" + linkFlags}
	for _, u := range Upstreams {
		flags := linkFlags
		for _, name := range slices.Sorted(maps.Keys(u.Stamps)) {
			flags += " -X " + name + "=" + u.Stamps[name]
		}
		for _, file := range slices.Sorted(maps.Keys(u.Programs)) {
			args = append(args, "-ldflags="+u.Programs[file]+"="+flags)
		}
	}
	return args
}

func kubernetesMinor() []string {
	return strings.Split(strings.TrimPrefix(KubernetesVersion, "v"), ".")
}

// Builder builds the programs of one source folder. Log receives the compiler's output.
type Builder struct {
	Module   string // the folder localcluster
	CacheDir string
	Log      io.Writer
}

// Key identifies the programs by the module's files, the patches, the Go version and the flags.
func (b Builder) Key(ctx context.Context) (string, error) {
	k := cache.NewKey().Add("tags", buildTags).Add("ldflags", strings.Join(linkArgs(), "\n")).Add("platform", runtime.GOOS+"/"+runtime.GOARCH)
	version, err := b.output(ctx, "env", "GOVERSION", "GOAMD64", "GOARM64")
	if err != nil {
		return "", err
	}
	k.Add("go", version)
	for _, p := range patches {
		k.Add("patch:"+p.module, fmt.Sprintf("%q", p))
	}
	keep := func(rel string) bool {
		return rel == "go.mod" || rel == "go.sum" || strings.HasSuffix(rel, ".go") && !strings.HasSuffix(rel, "_test.go")
	}
	if err := k.AddTree(b.Module, keep); err != nil {
		return "", fmt.Errorf("hashing the sources of the local cluster: %w", err)
	}
	return k.String(), nil
}

// Build returns the programs and whether they were in the cache. All are linked in one run of the go command, so that
// what they share (client-go above all) is compiled once.
func (b Builder) Build(ctx context.Context) (Set, bool, error) {
	key, err := b.Key(ctx)
	if err != nil {
		return Set{}, false, err
	}
	dir, hit, err := cache.Ensure(ctx, b.CacheDir, cacheKind, key, b.build)
	if err == nil && !hit {
		err = cache.Trim(b.CacheDir, cacheKind, 3)
	}
	return Set{Dir: dir}, hit, err
}

func (b Builder) build(ctx context.Context, out string) error {
	modfile, err := b.patchedModfile(ctx)
	if err != nil {
		return err
	}
	args := []string{"build", "-modfile=" + modfile, "-tags", buildTags, "-o", out + string(filepath.Separator)}
	args = append(args, linkArgs()...)
	cmd := b.command(ctx, slices.AppendSeq(args, maps.Values(packages()))...)
	cmd.Stdout, cmd.Stderr = b.Log, b.Log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building the programs of the local cluster: %w", err)
	}
	return nil
}

// patchedModfile copies the modules that need a patch into the cache, applies it, and writes a go.mod (with its go.sum
// beside it) that uses the copies.
func (b Builder) patchedModfile(ctx context.Context) (string, error) {
	mod, err := os.ReadFile(filepath.Join(b.Module, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("reading the module of the local cluster: %w", err)
	}
	key := cache.NewKey().Add("go.mod", string(mod))
	if err := key.AddFile("go.sum", filepath.Join(b.Module, "go.sum")); err != nil {
		return "", err
	}
	for _, p := range patches {
		src, srcKey, err := b.patchedSource(ctx, p)
		if err != nil {
			return "", err
		}
		key.Add(p.module, srcKey)
		mod = fmt.Appendf(mod, "\nreplace %s => %s\n", p.module, src)
	}
	dir, _, err := cache.Ensure(ctx, b.CacheDir, "modfiles", key.String(), func(_ context.Context, tmp string) error {
		sum, err := os.ReadFile(filepath.Join(b.Module, "go.sum"))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(tmp, "go.sum"), sum, 0o644); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(tmp, "go.mod"), mod, 0o644)
	})
	return filepath.Join(dir, "go.mod"), err
}

// patchedSource returns a copy of a module with the patches for it applied, and the copy's key.
func (b Builder) patchedSource(ctx context.Context, p modulePatch) (string, string, error) {
	list, err := b.output(ctx, "mod", "download", "-json", p.module+"@"+p.version)
	if err != nil {
		return "", "", err
	}
	var info struct{ Dir, Sum string }
	if err := json.Unmarshal([]byte(list), &info); err != nil {
		return "", "", fmt.Errorf("locating module %s: %w", p.module, err)
	}
	key := cache.NewKey().Add("sum", info.Sum).Add("patch", fmt.Sprintf("%q", p))
	dir, _, err := cache.Ensure(ctx, b.CacheDir, "sources", key.String(), func(_ context.Context, tmp string) error {
		src := filepath.Join(tmp, "src")
		if err := os.CopyFS(src, os.DirFS(info.Dir)); err != nil {
			return fmt.Errorf("copying module %s: %w", p.module, err)
		}
		if err := p.apply(src); err != nil {
			return fmt.Errorf("patching module %s: %w", p.module, err)
		}
		return nil
	})
	return filepath.Join(dir, "src"), key.String(), err
}

func (b Builder) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.Module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	return cmd
}

func (b Builder) output(ctx context.Context, args ...string) (string, error) {
	cmd := b.command(ctx, args...)
	cmd.Stderr = b.Log
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("running go %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}
