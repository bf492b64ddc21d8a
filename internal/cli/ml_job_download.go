package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/arm"
)

type downloadFlags struct {
	jobTarget
	all          bool
	output, path string
}

func (a *app) mlJobDownload() *cobra.Command {
	var f downloadFlags
	c := a.leaf(&cobra.Command{
		Use: "download", Short: "Download a job's files",
		Long: `Download a job's files: by default its artifacts (logs and what it wrote to ./outputs), with --output-name one named
output, with --all everything. An interrupted download goes on where it stopped.`,
		Example: "  fairlead ml job download -n NAME -g G -w W --all -p results\n  fairlead ml job download -n NAME -g G -w W --output-name model",
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.runJobDownload(cmd.Context(), f) },
	})
	a.jobFlags(c, &f.jobTarget)
	c.Flags().BoolVar(&f.all, "all", false, "artifacts and every named output")
	c.Flags().StringVar(&f.output, "output-name", "", "`name` of one output; default is the artifacts")
	c.Flags().StringVarP(&f.path, "download-path", "p", ".", "target `folder`")
	return c
}

func (a *app) runJobDownload(ctx context.Context, f downloadFlags) error {
	if f.all && f.output != "" {
		return usagef("--all and --output-name exclude each other")
	}
	s, ws, path, err := a.job(&f.jobTarget)
	if err != nil {
		return err
	}
	job, err := s.get(ctx, path, apiML)
	if err != nil {
		return err
	}
	if status := text(job, "properties", "status"); !terminal(status) {
		return hint(fmt.Errorf("job %s is %s; its files can be downloaded when it has ended", f.name, status),
			"Follow it with 'fairlead ml job stream -n %s -g %s -w %s'.", f.name, f.group, f.workspace)
	}
	outputs := sub(job, "properties", "outputs")
	var names []string
	switch {
	case f.all:
		for n := range outputs {
			names = append(names, n)
		}
		sort.Strings(names)
		names = append([]string{"default"}, names...)
	case f.output != "":
		names = []string{f.output}
	default:
		names = []string{"default"}
	}
	seen := map[string]bool{}
	for _, n := range names {
		if seen[n] {
			continue
		}
		seen[n] = true
		if err := a.downloadOutput(ctx, s, ws, f, n, job); err != nil {
			return err
		}
	}
	return nil
}

// downloadOutput fetches the artifacts ("default") or one named output.
func (a *app) downloadOutput(ctx context.Context, s *session, ws arm.ID, f downloadFlags, name string, job map[string]any) error {
	dir := filepath.Join(f.path, "artifacts")
	if name != "default" {
		outputs := sub(job, "properties", "outputs")
		if _, ok := outputs[name].(map[string]any); !ok {
			return hint(usagef("argument --output-name: job %s has no output %q", f.name, name), "Its outputs: %s.", strings.Join(keys(outputs), ", "))
		}
		if !filepath.IsLocal(name) || strings.ContainsAny(name, `/\`) {
			return fmt.Errorf("output %q: the name is not a folder's name; refused", name)
		}
		dir = filepath.Join(f.path, "named-outputs", name)
	}
	store, prefix, err := outputAddress(job, name)
	if err != nil {
		return err
	}
	from, err := s.datastore(ctx, ws, store)
	if err != nil {
		return err
	}
	n, err := a.download(ctx, from, prefix, dir)
	if err != nil {
		return err
	}
	if n == 0 {
		a.warn("job %s left no files in %s", f.name, map[bool]string{true: "its artifacts", false: "output " + name}[name == "default"])
		return nil
	}
	a.note("Downloaded %d files to %s", n, dir)
	return nil
}

// keys are a map's keys in order, or "none".
func keys(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	if len(out) == 0 {
		return []string{"none"}
	}
	return out
}
