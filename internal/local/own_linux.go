package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/local/image"
	"fairlead.dev/fairlead/internal/local/kubeapi"
	"fairlead.dev/fairlead/internal/release"
)

// own are the images of Fairlead's own programs as they are built now, by the names that manifests use; empty if not built.
type own struct{ agent, router, runtime string }

func ownAmong(archives []image.Archive) own {
	var o own
	for _, a := range archives {
		name := strings.TrimPrefix(a.Ref, "docker.io/")
		switch {
		case release.IsOf(name, release.AgentRepository):
			o.agent = name
		case release.IsOf(name, release.RouterRepository):
			o.router = name
		case release.IsOf(name, release.RuntimeRepository):
			o.runtime = name
		}
	}
	return o
}

// configMap is where `connectedk8s connect` and the upgrade of an agent look for the images to use.
func (o own) configMap() []byte {
	text := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\ndata:\n", release.ImagesConfigMap, release.ImagesNamespace)
	for _, line := range [][2]string{{release.AgentKey, o.agent}, {release.RouterKey, o.router}, {release.RuntimeKey, o.runtime}} {
		if line[1] != "" {
			text += fmt.Sprintf("  %s: %q\n", line[0], line[1])
		}
	}
	return []byte(text)
}

// loadImages brings the usual images to all nodes, says in the cluster which of Fairlead's own are the ones to use, and takes
// away what earlier builds left and nothing uses.
func (r *runner) loadImages(ctx context.Context) error {
	archives, err := r.usualImages(ctx)
	if err != nil {
		return err
	}
	if err := r.eachNode(func(ctx context.Context, i int) error { return r.importAll(ctx, i, archives) })(ctx); err != nil {
		return err
	}
	now := ownAmong(archives)
	if err := poll(ctx, func(ctx context.Context) error { return r.api.Apply(ctx, now.configMap()) }); err != nil {
		return err
	}
	return r.eachNode(func(ctx context.Context, i int) error { return r.dropUnused(ctx, i, now) })(ctx)
}

// usualImages are Fairlead's own, the Python image if it was made, and those asked for.
func (r *runner) usualImages(ctx context.Context) ([]image.Archive, error) {
	archives, err := r.pack(ctx, image.Own(r.config.BinDir))
	if err != nil {
		return nil, err
	}
	for _, d := range image.DebianImages() {
		if a, ok := d.Cached(r.config.CacheDir); ok && d.Name == "python-ml" {
			archives = append(archives, a)
		}
	}
	for _, name := range r.config.Images {
		a, err := findImage(ctx, r.config.CacheDir, name)
		if err != nil {
			return nil, err
		}
		archives = append(archives, a)
	}
	return archives, nil
}

// inUse is where images of pods, running or still to be made, are named. Operators are given images by arguments and variables,
// which are in what makes their pods as well.
var inUse = []string{"/api/v1/pods", "/apis/apps/v1/deployments", "/apis/apps/v1/statefulsets", "/apis/apps/v1/daemonsets", "/apis/jobset.x-k8s.io/v1alpha2/jobsets"}

// dropUnused removes images of Fairlead's earlier builds from node i that nothing in the cluster names any more.
func (r *runner) dropUnused(ctx context.Context, i int, now own) error {
	present, err := r.imagesOn(ctx, i)
	if err != nil {
		return err
	}
	var old []string
	for ref := range present {
		name, hub := strings.CutPrefix(ref, "docker.io/")
		ours := release.IsOf(name, release.AgentRepository) || release.IsOf(name, release.RouterRepository) || release.IsOf(name, release.RuntimeRepository)
		if hub && ours && name != now.agent && name != now.router && name != now.runtime {
			old = append(old, ref)
		}
	}
	if len(old) == 0 {
		return nil
	}
	named, err := r.namedInCluster(ctx, old)
	if err != nil {
		return err
	}
	drop := unused(present, old, named)
	if len(drop) == 0 {
		return nil
	}
	r.log.Info("removing images of earlier builds", "node", i, "images", drop)
	_, err = r.ctr(ctx, i, append([]string{"-n", "k8s.io", "images", "rm"}, drop...)...)
	return err
}

// namedInCluster says which of the images something in the cluster names.
func (r *runner) namedInCluster(ctx context.Context, refs []string) (map[string]bool, error) {
	named := map[string]bool{}
	for _, path := range inUse {
		err := r.api.Pages(ctx, path, func(page []byte) {
			for _, ref := range refs {
				// As manifests write it, that is without the registry, whatever stands around it.
				if strings.Contains(string(page), strings.TrimPrefix(ref, "docker.io/")) {
					named[ref] = true
				}
			}
		})
		if err != nil && !errors.Is(err, kubeapi.ErrNotFound) {
			return nil, fmt.Errorf("looking for images in use: %w", err)
		}
	}
	return named, nil
}

// unused are the names to remove so that old images that are not named go: their own, and the one that containerd gives every
// image by its configuration, unless another image that stays is the same.
func unused(present map[string]string, old []string, named map[string]bool) []string {
	gone := map[string]bool{}
	for _, ref := range old {
		gone[ref] = !named[ref]
	}
	kept := map[string]bool{}
	for ref, digest := range present {
		if !gone[ref] && !strings.HasPrefix(ref, "sha256:") {
			kept[digest] = true
		}
	}
	for ref, digest := range present {
		if strings.HasPrefix(ref, "sha256:") && !kept[digest] && slices.ContainsFunc(old, func(o string) bool { return gone[o] && present[o] == digest }) {
			gone[ref] = true
		}
	}
	maps.DeleteFunc(gone, func(_ string, yes bool) bool { return !yes })
	return slices.Sorted(maps.Keys(gone))
}
