package helm

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
)

// Chart is a chart read from files; it may be used by several goroutines.
type Chart struct {
	files   []*archive.BufferedFile
	name    string
	version string
	digest  string
	crds    [][]byte
}

// LoadChart reads the chart whose Chart.yaml is in the folder dir of fsys.
func LoadChart(fsys fs.FS, dir string) (*Chart, error) {
	sub, err := fs.Sub(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("reading chart %q: %w", dir, err)
	}
	c := &Chart{}
	sum := sha256.New()
	err = fs.WalkDir(sub, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(sub, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s %d\n", path, len(data))
		sum.Write(data)
		c.files = append(c.files, &archive.BufferedFile{Name: path, Data: data})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading chart %q: %w", dir, err)
	}
	loaded, err := loader.LoadFiles(c.files)
	if err != nil {
		return nil, fmt.Errorf("reading chart %q: %w", dir, err)
	}
	c.name, c.version, c.digest = loaded.Metadata.Name, loaded.Metadata.Version, hex.EncodeToString(sum.Sum(nil))[:16]
	for _, crd := range loaded.CRDObjects() {
		c.crds = append(c.crds, crd.File.Data)
	}
	return c, nil
}

// Version is the chart's version.
func (c *Chart) Version() string { return c.version }

// Digest identifies the chart's files together with the values they are rendered with, in 16 hex digits: a release with
// an equal digest needs no upgrade.
func (c *Chart) Digest(values map[string]any) string {
	doc, err := json.Marshal(values) // maps are written in key order
	if err != nil {
		panic(fmt.Sprintf("helm: values that JSON cannot hold: %v", err))
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s", c.digest, doc)
	return hex.EncodeToString(sum.Sum(nil))[:16]
}

// load parses the chart again: an action changes the chart it is given (dependencies, defaults).
func (c *Chart) load() (*chartv2.Chart, error) {
	loaded, err := loader.LoadFiles(c.files)
	if err != nil {
		return nil, fmt.Errorf("reading chart %q: %w", c.name, err)
	}
	return loaded, nil
}

// oldestKube is the oldest Kubernetes that the charts are for; Render speaks to no cluster that could say its version.
var oldestKube = &common.KubeVersion{Version: "v1.30.0", Major: "1", Minor: "30"}

// Render returns the manifests of a first installation without asking any cluster, as `helm template` does. Custom resource
// definitions in crds/ are not part of it.
func (c *Chart) Render(namespace, name string, values map[string]any) (string, error) {
	chart, err := c.load()
	if err != nil {
		return "", err
	}
	cfg := action.NewConfiguration(action.ConfigurationSetLogger(slog.DiscardHandler))
	install := action.NewInstall(cfg)
	install.DryRunStrategy = action.DryRunClient
	install.KubeVersion = oldestKube
	install.Namespace, install.ReleaseName = namespace, name
	rel, err := install.Run(chart, values)
	if err != nil {
		return "", fmt.Errorf("rendering chart %q: %w", c.name, err)
	}
	return rel.(*releasev1.Release).Manifest, nil
}
