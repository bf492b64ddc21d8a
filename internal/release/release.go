// Package release says which release a build is, which images of Fairlead's own go with it, and where a cluster says that it has
// others.
package release

import (
	"cmp"
	"strings"
)

// Version is the release that a build is part of, such as 1.2.3; the linker sets it
// (-X fairlead.dev/fairlead/internal/release.Version=1.2.3). A build from a checkout is of none.
var Version string

// Repositories of Fairlead's own images. Kubernetes reads fairlead/agent as docker.io/fairlead/agent.
const (
	AgentRepository   = "fairlead/agent"
	RouterRepository  = "fairlead/router"
	RuntimeRepository = "fairlead/runtime"
)

// A cluster whose nodes were given images under other names than this build's says so in a ConfigMap, under these keys.
const (
	ImagesNamespace = "kube-public"
	ImagesConfigMap = "fairlead-images"
	AgentKey        = "agent"
	RouterKey       = "router"
	RuntimeKey      = "runtime"
)

// AgentImage is the image of the agent and of the extension's components that goes with this build.
func AgentImage() string { return AgentRepository + ":" + tag() }

// RouterImage is the image of the inference router that goes with this build.
func RouterImage() string { return RouterRepository + ":" + tag() }

// RuntimeImage is the image that brings fairlead-runtime into jobs' pods that goes with this build.
func RuntimeImage() string { return RuntimeRepository + ":" + tag() }

// tag is the release's version; a build from a checkout goes with images that were built from one too, by hand.
func tag() string { return cmp.Or(Version, "dev") }

// IsOf says whether an image is one of a repository of Docker Hub's, by any tag or digest.
func IsOf(image, repository string) bool {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(image, "docker.io/"), repository)
	return ok && (rest == "" || rest[0] == ':' || rest[0] == '@')
}
