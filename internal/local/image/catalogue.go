package image

import (
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"fairlead.dev/fairlead/internal/local/component"
	"fairlead.dev/fairlead/internal/local/render"
)

// Names of Fairlead's own images. Kubernetes reads fairlead/agent:dev as docker.io/fairlead/agent:dev.
const (
	AgentImage   = "docker.io/fairlead/agent:dev"
	RuntimeImage = "docker.io/fairlead/runtime:dev"
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

// Own are the images of JobSet and of Fairlead's programs that are in binDir; those that are not built are left out.
func Own(set component.Set, binDir string) []Spec {
	specs := []Spec{program(render.JobSetImage, "/manager", set.Path("jobset"), nonRoot)}
	for _, p := range []struct{ ref, name string }{{AgentImage, "fairlead-agent"}, {RuntimeImage, "fairlead-runtime"}} {
		if file := filepath.Join(binDir, p.name); isFile(file) {
			specs = append(specs, program(p.ref, "/"+p.name, file, nonRoot))
		}
	}
	return specs
}

func program(ref, entrypoint, file, user string) Spec {
	return Spec{Ref: ref, Files: map[string]string{entrypoint: file}, Config: v1.Config{
		Entrypoint: []string{entrypoint}, User: user, Env: []string{pathEnv}, StopSignal: stopTerm, WorkingDir: "/",
	}}
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
