package local

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"fairlead.dev/fairlead/internal/local/cache"
	"fairlead.dev/fairlead/internal/local/hostpkg"
	"fairlead.dev/fairlead/internal/local/image"
	"fairlead.dev/fairlead/internal/local/kernel"
)

// checkMachine installs what is missing where it can, and says what is missing and what else works where it cannot.
func checkMachine(ctx context.Context, out io.Writer) error {
	return hostpkg.ThisHost().Ensure(ctx, hostpkg.Run(), out)
}

// firstTime fills in what is decided once in a cluster's life.
func (o Options) firstTime(c *Config) error {
	if o.Kubeconfig != "" {
		if c.PublicURL == "" {
			c.PublicURL = "https://" + outboundIP() + fmt.Sprintf(":%d", c.Port)
		}
		return nil
	}
	used, err := kernel.UsedRanges()
	if err != nil {
		return err
	}
	if c.Plan, err = o.plan(used); err != nil {
		return err
	}
	m, err := kernel.SaveMachine()
	if err != nil {
		return err
	}
	c.Machine, err = json.Marshal(m)
	return err
}

// machine is how the machine was before the cluster.
func (c Config) machine() (kernel.Machine, error) {
	var m kernel.Machine
	if len(c.Machine) == 0 {
		return m, nil
	}
	err := json.Unmarshal(c.Machine, &m)
	return m, err
}

// makeImages makes the Debian images among the names that are not in the cache yet, and returns the names with paths of
// archives made absolute.
func makeImages(ctx context.Context, names []string, out io.Writer) ([]string, error) {
	dir, err := cache.Dir()
	if err != nil {
		return nil, err
	}
	var made []string
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			abs, err := filepath.Abs(name)
			if err != nil {
				return nil, err
			}
			made = append(made, abs)
			continue
		}
		d, err := image.FindDebian(name)
		if err != nil {
			return nil, err
		}
		made = append(made, d.Name)
		if _, ok := d.Cached(dir); ok {
			continue
		}
		if err := hostpkg.ThisHost().Ensure(ctx, hostpkg.Images(), out); err != nil {
			return nil, err
		}
		fmt.Fprintf(out, "Making image %s of Debian packages, which takes a minute or two\n", d.Ref)
		if _, _, err := d.Make(ctx, dir); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// LoadImages brings images (names of Debian images, which are made if needed, or paths of archives) to all nodes of a
// running cluster; those that are there already cost nothing. Without names it brings the usual ones.
func LoadImages(ctx context.Context, f Folder, names []string, out io.Writer) error {
	c, err := LoadConfig(f)
	if err != nil {
		return err
	}
	if c.External() {
		return fmt.Errorf("the cluster of %s is not Fairlead's own: load images in the way of that cluster", f)
	}
	if names, err = makeImages(ctx, names, out); err != nil {
		return err
	}
	r := &runner{folder: f, config: c, log: quiet()}
	if len(names) == 0 {
		if err := r.reachAPI(); err != nil {
			return err
		}
		if err := r.loadImages(ctx); err != nil {
			return err
		}
		return followImages(ctx, f, c, out)
	}
	var archives []image.Archive
	for _, name := range names {
		a, err := findImage(ctx, c.CacheDir, name)
		if err != nil {
			return err
		}
		archives = append(archives, a)
	}
	return r.eachNode(func(ctx context.Context, i int) error { return r.importAll(ctx, i, archives) })(ctx)
}
