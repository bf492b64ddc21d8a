package tracking

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/controlplane/blobs"
	"fairlead.dev/fairlead/internal/controlplane/types"
)

// artifactScheme begins the addresses of files that this server keeps: clients send them here. runsFolder is where they are.
const (
	artifactScheme = "mlflow-artifacts:"
	runsFolder     = "ExperimentRun"
)

type wireFile struct {
	Path  string `json:"path"`
	IsDir bool   `json:"is_dir"`
	Size  *int64 `json:"file_size,omitempty"`
}

// artifactName checks the name of a file or folder in the artifacts' container.
func artifactName(name string) (string, error) {
	name = strings.Trim(name, "/")
	if name == "" || path.Clean(name) != name || !strings.HasPrefix(name+"/", runsFolder+"/") {
		return "", invalid("Invalid path %.300q: artifacts are below %s/, and a path holds no '..'.", name, runsFolder)
	}
	return name, nil
}

// ownArtifact refuses to let a run's token write outside of its own folder.
func (c *call) ownArtifact(name string) error {
	if c.job != "" && !strings.HasPrefix(name, c.folder+"/") {
		return errorf(http.StatusForbidden, codeDenied, "Run %s writes artifacts below %s only.", c.job, c.folder)
	}
	if name == runsFolder || !strings.Contains(name[len(runsFolder)+1:], "/") {
		return invalid("Invalid path %.300q: give the path of a file below a run's folder.", name)
	}
	return nil
}

// local is the name in the artifacts' container that an address leads to.
func local(uri string) (string, error) {
	rest, ok := strings.CutPrefix(uri, artifactScheme)
	if !ok || strings.HasPrefix(rest, "//") {
		return "", errorf(http.StatusNotImplemented, "NOT_IMPLEMENTED", "The artifacts are at %.300s, which this server does not keep; a client with access to that place reads them there.", uri)
	}
	return artifactName(rest)
}

func getArtifact(c *call) (any, error) {
	if c.vars["path"] == "" {
		folder, err := artifactName(c.r.URL.Query().Get("path"))
		if err != nil {
			return nil, err
		}
		files, err := c.files(folder)
		return map[string]any{"files": files}, err
	}
	name, err := artifactName(c.vars["path"])
	if err != nil {
		return nil, err
	}
	rc, size, err := c.cfg.Blobs.NewReader(c.ctx, c.account, types.ArtifactContainer, name, 0)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	c.w.Header().Set("Content-Type", "application/octet-stream")
	c.w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if n, err := io.Copy(c.w, rc); err != nil && c.ctx.Err() == nil {
		c.cfg.Log.Warn("artifact was cut off", "artifact", name, "bytes", n, "err", err)
		panic(http.ErrAbortHandler) // so that no reader takes the part for the whole
	}
	return nil, nil
}

// files lists what is directly in a folder; names are relative to it.
func (c *call) files(folder string) ([]wireFile, error) {
	items, err := c.cfg.Blobs.List(c.ctx, c.account, types.ArtifactContainer, folder+"/")
	if err != nil {
		return nil, fmt.Errorf("listing artifacts in %s: %w", folder, err)
	}
	out := []wireFile{}
	for _, it := range items {
		name, below, nested := strings.Cut(strings.TrimPrefix(it.Name, folder+"/"), "/")
		if nested && below != "" {
			if n := len(out); n == 0 || out[n-1].Path != name || !out[n-1].IsDir {
				out = append(out, wireFile{Path: name, IsDir: true})
			}
			continue
		}
		out = append(out, wireFile{Path: name, Size: &it.Size})
	}
	slices.SortStableFunc(out, func(a, b wireFile) int { return strings.Compare(a.Path, b.Path) })
	return slices.CompactFunc(out, func(a, b wireFile) bool { return a.Path == b.Path && a.IsDir == b.IsDir }), nil
}

func putArtifact(c *call) (any, error) {
	name, err := artifactName(c.vars["path"])
	if err == nil {
		err = c.ownArtifact(name)
	}
	if err != nil {
		return nil, err
	}
	return struct{}{}, c.cfg.Blobs.Put(c.ctx, c.account, types.ArtifactContainer, name, c.r.Header.Get("Content-Type"), c.r.Body)
}

func deleteArtifacts(c *call) (any, error) {
	name, err := artifactName(c.vars["path"])
	if err == nil {
		err = c.ownArtifact(name)
	}
	if err != nil {
		return nil, err
	}
	items, err := c.cfg.Blobs.List(c.ctx, c.account, types.ArtifactContainer, name+"/")
	if err != nil {
		return nil, err
	}
	for _, it := range append(items, blobs.Item{Name: name}) {
		if err := c.cfg.Blobs.Delete(c.ctx, c.account, types.ArtifactContainer, it.Name); err != nil {
			return nil, err
		}
	}
	return struct{}{}, nil
}

func listRunArtifacts(c *call) (any, error) {
	var req struct {
		runRef
		Path string `json:"path"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	run, err := c.run(c.store(), req.id())
	if err != nil {
		return nil, err
	}
	return c.list(c.ctx, run.Artifacts, req.Path)
}

// list answers with what is in a folder below a root; names are relative to the root.
func (c *call) list(_ context.Context, root, below string) (any, error) {
	folder, err := local(root)
	if err != nil {
		return nil, err
	}
	if below != "" && (path.Clean(below) != strings.TrimSuffix(below, "/") || strings.HasPrefix(below, "..") || strings.HasPrefix(below, "/")) {
		return nil, invalid("Invalid path: %.300q", below)
	}
	files, err := c.files(path.Join(folder, below))
	for i := range files {
		files[i].Path = path.Join(below, files[i].Path)
	}
	return map[string]any{"root_uri": root, "files": files}, err
}
