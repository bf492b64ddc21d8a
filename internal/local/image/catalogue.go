package image

import (
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"fairlead.dev/fairlead/internal/local/component"
	"fairlead.dev/fairlead/internal/local/render"
	"fairlead.dev/fairlead/internal/release"
)

// Repositories of Fairlead's own images. Their tags are made of their content, so that another build is another image to
// Kubernetes, which replaces pods only when an image's name changes.
const (
	AgentRepository   = "docker.io/" + release.AgentRepository
	RouterRepository  = "docker.io/" + release.RouterRepository
	RuntimeRepository = "docker.io/" + release.RuntimeRepository
)

const (
	nonRoot  = "65532:65532"
	pathEnv  = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	stopTerm = "SIGTERM"
)

// System are the images without which the cluster does not come up.
func System(set component.Set) []Spec {
	return []Spec{
		program(render.PauseImage, "/pause", set.Path("pause"), "65535:65535"),
		program(render.CoreDNSImage, "/coredns", set.Path("coredns"), nonRoot),
	}
}

// Upstream are the images of other projects that the extension installs.
func Upstream(set component.Set) []Spec {
	var specs []Spec
	for _, u := range component.Upstreams {
		s := Spec{Ref: u.Image, Files: map[string]string{}, Config: config(u.Entrypoint, nonRoot)}
		for file, pkg := range u.Programs {
			s.Files[file] = set.Path(component.Executable(pkg))
		}
		specs = append(specs, s)
	}
	return specs
}

// Own are the images of Fairlead's programs that are in binDir; those that are not built are left out.
func Own(binDir string) []Spec {
	var specs []Spec
	for _, p := range []struct{ ref, name string }{{AgentRepository, "fairlead-agent"}, {RouterRepository, "fairlead-router"}, {RuntimeRepository, "fairlead-runtime"}} {
		if file := filepath.Join(binDir, p.name); isFile(file) {
			specs = append(specs, program(p.ref, "/"+p.name, file, nonRoot))
		}
	}
	return specs
}

func program(ref, entrypoint, file, user string) Spec {
	return Spec{Ref: ref, Files: map[string]string{entrypoint: file}, Config: config([]string{entrypoint}, user)}
}

func config(entrypoint []string, user string) v1.Config {
	return v1.Config{Entrypoint: entrypoint, User: user, Env: []string{pathEnv}, StopSignal: stopTerm, WorkingDir: "/"}
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
