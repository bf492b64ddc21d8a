package local

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

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
	if slices.ContainsFunc(names, func(n string) bool { _, err := image.FindDebian(n); return err == nil }) {
		if err := hostpkg.ThisHost().Ensure(ctx, hostpkg.Images(), out); err != nil {
			return err
		}
	}
	r := &runner{folder: f, config: c, log: quiet()}
	if len(names) == 0 {
		return r.eachNode(r.loadImages)(ctx)
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
