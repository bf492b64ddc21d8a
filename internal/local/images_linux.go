package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/local/component"
	"fairlead.dev/fairlead/internal/local/image"
	"fairlead.dev/fairlead/internal/local/kernel"
)

// packing serialises making images, so that nodes that need the same one wait for the first.
var packing sync.Mutex

func (r *runner) loadSystemImages(ctx context.Context, i int) error {
	archives, err := r.pack(ctx, image.System(component.Set{Dir: r.config.Components}))
	if err != nil {
		return err
	}
	return r.importAll(ctx, i, archives)
}

// loadUpstreamImages brings the images that the extension will want to node i.
func (r *runner) loadUpstreamImages(ctx context.Context, i int) error {
	archives, err := r.pack(ctx, image.Upstream(component.Set{Dir: r.config.Components}))
	if err != nil {
		return err
	}
	return r.importAll(ctx, i, archives)
}

func (r *runner) pack(ctx context.Context, specs []image.Spec) ([]image.Archive, error) {
	packing.Lock()
	defer packing.Unlock()
	var archives []image.Archive
	for _, s := range specs {
		a, _, err := image.Pack(ctx, r.config.CacheDir, s)
		if err != nil {
			return nil, err
		}
		archives = append(archives, a)
	}
	return archives, nil
}

// findImage is the archive of a Debian image, made now if needed, or of a file.
func findImage(ctx context.Context, cacheDir, name string) (image.Archive, error) {
	if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
		return image.Archive{File: name, Ref: name, Size: info.Size()}, nil
	}
	d, err := image.FindDebian(name)
	if err != nil {
		return image.Archive{}, err
	}
	packing.Lock()
	defer packing.Unlock()
	a, _, err := d.Make(ctx, cacheDir)
	return a, err
}

// importAll imports what node i's containerd does not have yet, two at a time.
func (r *runner) importAll(ctx context.Context, i int, archives []image.Archive) error {
	present, err := r.imagesOn(ctx, i)
	if err != nil {
		return err
	}
	errs := make([]error, len(archives))
	slots := make(chan struct{}, 2)
	var wg sync.WaitGroup
	for j, a := range archives {
		if a.Digest != "" && present[a.Ref] == a.Digest {
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			start := time.Now()
			_, errs[j] = r.ctr(ctx, i, "-n", "k8s.io", "images", "import", "--local", "--label", "io.cri-containerd.pinned=pinned", a.File)
			r.log.Info("image", "ref", a.Ref, "node", i, "bytes", a.Size, "took", time.Since(start).Round(time.Millisecond), "error", errs[j])
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("loading images into node %d: %w", i, err)
	}
	return nil
}

// imagesOn maps the names of the images that a node has to their digests.
func (r *runner) imagesOn(ctx context.Context, i int) (map[string]string, error) {
	out, err := r.ctr(ctx, i, "-n", "k8s.io", "images", "list")
	if err != nil {
		return nil, fmt.Errorf("listing the images of node %d: %w", i, err)
	}
	return parseImages(out), nil
}

// parseImages reads the table of `ctr images list`: REF TYPE DIGEST …
func parseImages(table string) map[string]string {
	images := map[string]string{}
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 2 && strings.HasPrefix(f[2], "sha256:") {
			images[f[0]] = f[2]
		}
	}
	return images
}

// ctr runs containerd's client inside node i, whose socket is visible only there.
func (r *runner) ctr(ctx context.Context, i int, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, r.folder.Path("bin", "ctr"), append([]string{"--address", "/run/containerd/containerd.sock"}, args...)...)
	cmd.Env, cmd.Dir = r.environment(), "/"
	var out, text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &text
	ns := kernel.Namespaces{Mount: r.folder.mountns(i)}
	if err := ns.Do(cmd.Start); err != nil {
		return "", fmt.Errorf("running ctr: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("running ctr %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(text.Bytes()))
	}
	return out.String(), nil
}
