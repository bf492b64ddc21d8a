package cli

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/arm"
	ml "fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/client"
)

var jobColumns = cols("Name=name", "DisplayName=display_name", "Experiment=experiment_name", "Compute=compute", "Status=status",
	"CreatedAt=creation_context.created_at", `Reason=properties."fairlead.statusReason"`)

func (a *app) mlJob() *cobra.Command {
	return noun("job", "Submit, follow and manage jobs", a.mlJobCreate(), a.mlJobShow(), a.mlJobList(), a.mlJobStream(), a.mlJobCancel(),
		a.mlJobArchive("archive", true), a.mlJobArchive("restore", false), a.mlJobDownload(), a.mlJobUpdate(), a.mlJobMetrics())
}

// jobTarget names a job.
type jobTarget struct {
	target
	name string
}

func (a *app) jobFlags(c *cobra.Command, t *jobTarget) {
	a.addWorkspace(c, &t.target)
	a.addName(c, &t.name, "job", &t.target, inWorkspace("jobs"), apiML)
}

// job checks the flags and gives the job's path.
func (a *app) job(t *jobTarget) (*session, arm.ID, string, error) {
	s, ws, err := a.workspace(&t.target, need{"--name/-n", t.name})
	if err != nil {
		return nil, ws, "", err
	}
	path, err := child(ws, "jobs", t.name)
	return s, ws, path, err
}

func terminal(status string) bool {
	return oneOf(status, ml.JobCompleted, ml.JobFailed, ml.JobCanceled, "NotResponding", "Paused")
}

func (a *app) mlJobShow() *cobra.Command {
	var t jobTarget
	c := a.leaf(&cobra.Command{
		Use: "show", Short: "Show a job", Example: "  fairlead ml job show -n NAME -g G -w W --query status -o tsv",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, _, path, err := a.job(&t)
			if err != nil {
				return err
			}
			got, err := s.get(cmd.Context(), path, apiML)
			if err != nil {
				return err
			}
			return a.print(jobShape(got), jobColumns...)
		},
	})
	a.jobFlags(c, &t)
	return c
}

func (a *app) mlJobList() *cobra.Command {
	var t target
	var max int
	var archivedOnly, includeArchived bool
	var tag string
	c := a.leaf(&cobra.Command{
		Use: "list", Short: "List jobs, newest first", Example: "  fairlead ml job list -g G -w W -r 20 -o table",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, ws, err := a.workspace(&t)
			if err != nil {
				return err
			}
			q := url.Values{}
			if err := listView(q, archivedOnly, includeArchived); err != nil {
				return err
			}
			if tag != "" {
				q.Set("tag", tag)
			}
			q.Set("api-version", apiML)
			items, err := s.List(cmd.Context(), ws.String()+"/jobs", q, max)
			if err != nil {
				return err
			}
			for i := range items {
				items[i] = jobShape(items[i])
			}
			return a.print(items, jobColumns...)
		},
	})
	a.addWorkspace(c, &t)
	c.Flags().IntVarP(&max, "max-results", "r", 50, "at most this `number` of jobs; 0 for all")
	c.Flags().StringVar(&tag, "tag", "", "only jobs with this `tag`")
	archiveFlags(c, &archivedOnly, &includeArchived)
	return c
}

func archiveFlags(c *cobra.Command, only, include *bool) {
	c.Flags().BoolVar(only, "archived-only", false, "list archived ones only")
	c.Flags().BoolVar(include, "include-archived", false, "list archived ones too")
}

func listView(q url.Values, only, include bool) error {
	switch {
	case only && include:
		return usagef("--archived-only and --include-archived exclude each other")
	case only:
		q.Set("listViewType", "ArchivedOnly")
	case include:
		q.Set("listViewType", "All")
	}
	return nil
}

func (a *app) mlJobCancel() *cobra.Command {
	var t jobTarget
	var noWait bool
	c := a.leaf(&cobra.Command{
		Use: "cancel", Short: "Cancel a job", Example: "  fairlead ml job cancel -n NAME -g G -w W",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, _, path, err := a.job(&t)
			if err != nil {
				return err
			}
			res, err := s.Do(cmd.Context(), client.Request{Method: http.MethodPost, Path: path + "/cancel", Query: url.Values{"api-version": {apiML}}})
			if err != nil || noWait {
				return err
			}
			spin := a.spinner("Cancelling")
			defer spin.stop()
			_, err = s.Wait(cmd.Context(), res, nil)
			return err
		},
	})
	a.jobFlags(c, &t)
	addNoWait(c, &noWait)
	return c
}

func (a *app) mlJobArchive(verb string, archived bool) *cobra.Command {
	var t jobTarget
	short := map[bool]string{true: "Archive a job: hide it from lists", false: "Restore an archived job"}[archived]
	c := a.leaf(&cobra.Command{
		Use: verb, Short: short, Example: "  fairlead ml job " + verb + " -n NAME -g G -w W",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, _, path, err := a.job(&t)
			if err != nil {
				return err
			}
			_, err = s.change(cmd.Context(), path, func(p map[string]any) { p["isArchived"] = archived })
			return err
		},
	})
	a.jobFlags(c, &t)
	return c
}

// change reads a resource, edits its properties and puts it back, as the reference's clients do. When somebody else
// wrote in between, it begins again.
func (s *session) change(ctx context.Context, path string, edit func(props map[string]any)) (map[string]any, error) {
	for attempt := 0; ; attempt++ {
		got, err := s.get(ctx, path, apiML)
		if err != nil {
			return nil, err
		}
		props := sub(got, "properties")
		edit(props)
		delete(props, "status")
		body := map[string]any{"properties": props}
		for _, k := range []string{"tags", "location", "identity"} {
			if v := got[k]; v != nil {
				body[k] = v
			}
		}
		header := http.Header{}
		if etag := text(got, "etag"); etag != "" {
			header.Set("If-Match", etag)
		}
		res, err := s.Do(ctx, client.Request{Method: http.MethodPut, Path: path, Query: url.Values{"api-version": {apiML}}, Body: body, Header: header})
		var e *arm.Error
		if errors.As(err, &e) && e.Status == http.StatusPreconditionFailed && attempt < 5 {
			continue
		}
		if err != nil {
			return nil, err
		}
		out := map[string]any{}
		return out, res.Decode(&out)
	}
}

func (a *app) mlJobUpdate() *cobra.Command {
	var t jobTarget
	var set, tags []string
	var displayName, description string
	c := a.leaf(&cobra.Command{
		Use: "update", Short: "Change a job's display name, description or tags", Example: "  fairlead ml job update -n NAME -g G -w W --set tags.team=vision",
		RunE: func(cmd *cobra.Command, _ []string) error {
			edits, err := jobEdits(set, tags, displayName, description)
			if err != nil {
				return err
			}
			s, _, path, err := a.job(&t)
			if err != nil {
				return err
			}
			got, err := s.change(cmd.Context(), path, edits)
			if err != nil {
				return err
			}
			return a.print(jobShape(got), jobColumns...)
		},
	})
	a.jobFlags(c, &t)
	multiVar(c.Flags(), &set, "set", "space-separated `path=value`: display_name, description, tags.<name>")
	multiVar(c.Flags(), &tags, "tags", "space-separated `key=value` tags, added to those there are")
	c.Flags().StringVar(&displayName, "display-name", "", "display `name`")
	c.Flags().StringVar(&description, "description", "", "description")
	return c
}
