package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
)

func (a *app) assetDownload(k assetKind) *cobra.Command {
	var t assetTarget
	var to string
	c := a.leaf(&cobra.Command{
		Use: "download", Short: "Download a version's files", Example: "  fairlead ml " + k.noun + " download -n NAME -v 1 -g G -w W -p folder",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			s, ws, path, err := a.assetVersion(ctx, &t, k)
			if err != nil {
				return err
			}
			got, err := s.get(ctx, path, apiML)
			if err != nil {
				return err
			}
			from, prefix, err := s.locate(ctx, ws, got, k)
			if err != nil {
				return err
			}
			dir := filepath.Join(to, t.name)
			n, err := a.download(ctx, from, prefix, dir)
			if err != nil {
				return err
			}
			if n == 0 {
				return fmt.Errorf("%s %s has no files at %s", k.noun, t.name, text(got, "properties", k.uri))
			}
			a.note("Downloaded %d files to %s", n, dir)
			return nil
		},
	})
	a.assetFlags(c, &t, k)
	c.Flags().StringVarP(&to, "download-path", "p", ".", "target `folder`")
	return c
}

var jobOutputPath = regexp.MustCompile(`^azureml://jobs/([^/]+)/outputs/([^/]+)(?:/paths/(.*))?$`)

// locate opens the container in which an asset's files are, and gives their prefix.
func (s *session) locate(ctx context.Context, ws arm.ID, asset map[string]any, k assetKind) (files, string, error) {
	uri := text(asset, "properties", k.uri)
	if ds, prefix, ok := splitDatastore(uri); ok {
		c, err := s.datastore(ctx, ws, ds)
		return c, prefix, err
	}
	if m := jobOutputPath.FindStringSubmatch(uri); m != nil {
		return s.locateOutput(ctx, ws, m[1], m[2], strings.Trim(m[3], "/"))
	}
	version := text(asset, "id")
	if c, base, err := s.pendingUpload(ctx, version); err == nil {
		if prefix, ok := strings.CutPrefix(uri, base); ok {
			return c, strings.Trim(prefix, "/"), nil
		}
	}
	return nil, "", hint(fmt.Errorf("%s is kept at %s, which is not the workspace's own storage", k.noun, uri), "Fetch it from there.")
}

// locateOutput finds a job's artifacts or named output.
func (s *session) locateOutput(ctx context.Context, ws arm.ID, job, output, rest string) (files, string, error) {
	path, err := child(ws, "jobs", job)
	if err != nil {
		return nil, "", err
	}
	got, err := s.get(ctx, path, apiML)
	if err != nil {
		return nil, "", err
	}
	ds, prefix, err := outputAddress(got, output)
	if err != nil {
		return nil, "", err
	}
	c, err := s.datastore(ctx, ws, ds)
	return c, strings.Trim(prefix+"/"+rest, "/"), err
}

// outputAddress is the datastore and the folder of a job's named output, or of its artifacts ("default", "artifacts"), as
// the job itself says.
func outputAddress(job map[string]any, output string) (datastore, prefix string, err error) {
	uri := text(job, "properties", "outputs", output, "uri")
	if uri == "" && (output == "artifacts" || output == "default") {
		uri = text(job, "properties", "properties", machinelearning.PropArtifacts)
	}
	datastore, prefix, ok := splitDatastore(uri)
	if !ok {
		return "", "", fmt.Errorf("job %s does not say in which datastore its output %q is (%q)", text(job, "name"), output, uri)
	}
	return datastore, prefix, nil
}
