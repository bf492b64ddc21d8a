// Command build makes what the local cluster needs and takes long to make: Kubernetes, containerd, CoreDNS and what the
// extension installs (JobSet, Prometheus and others) from their Go modules, and beside that the Python image from Debian's
// packages. All of it is kept in a cache; a second run only looks.
//
//	go run ./internal/local/build -out bin/localcluster
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/internal/local/cache"
	"fairlead.dev/fairlead/internal/local/component"
	"fairlead.dev/fairlead/internal/local/hostpkg"
	"fairlead.dev/fairlead/internal/local/image"
)

func main() {
	out := flag.String("out", "bin/localcluster", "folder that gets links to the programs")
	module := flag.String("module", "localcluster", "folder of the local cluster's Go module")
	images := flag.Bool("images", true, "make the Python image too, where this machine can (root on Debian or Ubuntu)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := build(ctx, *module, *out, *images); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func build(ctx context.Context, module, out string, images bool) error {
	dir, err := cache.Dir()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return components(ctx, dir, module, out) })
	if images {
		group.Go(func() error { return python(ctx, dir) })
	}
	return group.Wait()
}

func components(ctx context.Context, dir, module, out string) error {
	start := time.Now()
	abs, err := filepath.Abs(module)
	if err != nil {
		return err
	}
	set, hit, err := component.Builder{Module: abs, CacheDir: dir, Log: os.Stderr}.Build(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range component.Names() {
		errs = append(errs, cache.Link(set.Path(n), filepath.Join(out, n)))
	}
	report("Kubernetes "+component.KubernetesVersion+", containerd, CoreDNS, and what the extension installs", hit, start)
	return errors.Join(errs...)
}

// python makes the image that the demonstration trains with. A machine that cannot is told so, and everything else works.
func python(ctx context.Context, dir string) error {
	d, err := image.FindDebian("python-ml")
	if err != nil {
		return err
	}
	start := time.Now()
	if _, ok := d.Cached(dir); ok {
		report("image "+d.Ref, true, start)
		return nil
	}
	if err := hostpkg.ThisHost().Ensure(ctx, hostpkg.Images(), os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "build: image %s is not made: %v\n", d.Ref, err)
		return nil
	}
	if _, _, err := d.Make(ctx, dir); err != nil {
		return err
	}
	report("image "+d.Ref, false, start)
	return nil
}

func report(what string, hit bool, start time.Time) {
	how := "built in"
	if hit {
		how = "from the cache in"
	}
	fmt.Fprintf(os.Stderr, "%s: %s %s\n", what, how, time.Since(start).Round(10*time.Millisecond))
}
