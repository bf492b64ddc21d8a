package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/arm"
	ml "fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/cli/snapshot"
	"fairlead.dev/fairlead/internal/cli/spec"
	"fairlead.dev/fairlead/internal/client"
)

type jobCreateFlags struct {
	target
	file, name, experiment string
	set                    []string
	stream, skipChecks     bool
}

func (a *app) mlJobCreate() *cobra.Command {
	var f jobCreateFlags
	c := a.leaf(&cobra.Command{
		Use: "create", Short: "Submit a job",
		Long: `Submit a command job from a YAML file. Local code and data are uploaded first; what the workspace has already is not sent
again. With --stream the log follows until the job ends; Ctrl-C stops following, not the job.`,
		Example: `  fairlead ml job create -f job.yml -g G -w W --stream
  fairlead ml job create -f job.yml --set compute=azureml:k8s resources.instance_count=2 inputs.epochs=10`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runJobCreate(cmd.Context(), f, cmd.Flags().Changed("output") || a.query != "")
		},
	})
	a.addWorkspace(c, &f.target)
	addFile(c, &f.file, &f.set)
	fs := c.Flags()
	fs.StringVarP(&f.name, "name", "n", "", "`name` of the job (default: generated)")
	fs.StringVarP(&f.experiment, "experiment-name", "e", "", "`name` of the experiment (default: the working folder's)")
	fs.BoolVarP(&f.stream, "stream", "s", false, "follow the job's log")
	fs.BoolVar(&f.skipChecks, "skip-validation", false, "accepted for compatibility: the file is always checked")
	return c
}

func (a *app) runJobCreate(ctx context.Context, f jobCreateFlags, show bool) error {
	if err := a.inWS(&f.target, need{"--file/-f", f.file}); err != nil {
		return err
	}
	doc, err := a.document(f.file, f.set, map[string]string{"name": f.name, "experiment_name": f.experiment})
	if err != nil {
		return err
	}
	job, err := doc.Job()
	if err != nil {
		return err
	}
	for _, w := range job.Warnings {
		a.warn("%s", w)
	}
	s, ws, err := a.workspace(&f.target)
	if err != nil {
		return err
	}
	got, err := a.submit(ctx, s, ws, f.file, job)
	if err != nil {
		return err
	}
	if !f.stream {
		return a.print(jobShape(got), jobColumns...)
	}
	streamed := a.streamJob(ctx, s, ws, text(got, "name"), allProcesses)
	if !show || errors.Is(streamed, context.Canceled) {
		return streamed
	}
	path, err := child(ws, "jobs", text(got, "name"))
	if err != nil {
		return err
	}
	if got, err = s.get(ctx, path, apiML); err != nil {
		return errors.Join(streamed, err)
	}
	return errors.Join(streamed, a.print(jobShape(got), jobColumns...))
}

// submit resolves everything that the file names, uploads what is local and puts the job.
func (a *app) submit(ctx context.Context, s *session, ws arm.ID, file string, job *spec.CommandJob) (map[string]any, error) {
	if job.Name == "" {
		job.Name = generateName()
	}
	path, err := child(ws, "jobs", job.Name)
	if err != nil {
		return nil, err
	}
	body := jobBody(job)
	if body.ComputeID, err = s.findCompute(ctx, ws, job.Compute); err != nil {
		return nil, err
	}
	if err := checkLocal(file, job); err != nil {
		return nil, err
	}
	if body.EnvironmentID, err = s.findEnvironment(ctx, ws, job.Environment); err != nil {
		return nil, err
	}
	if body.CodeID, err = a.findCode(ctx, s, ws, file, job.Code); err != nil {
		return nil, err
	}
	if err := a.resolveInputs(ctx, s, ws, file, job, body); err != nil {
		return nil, err
	}
	for k, v := range gitProperties(ctx, codeDir(file, job)) {
		if _, given := body.Properties[k]; !given {
			body.Properties[k] = v
		}
	}
	res, err := s.Do(ctx, client.Request{Method: http.MethodPut, Path: path, Query: url.Values{"api-version": {apiML}}, Body: map[string]any{"properties": body}})
	if err != nil {
		return nil, fmt.Errorf("submitting job %s: %w", job.Name, err)
	}
	out := map[string]any{}
	return out, res.Decode(&out)
}

func codeDir(file string, job *spec.CommandJob) string {
	if job.Code != "" && !isRemote(job.Code) {
		return localPath(file, job.Code)
	}
	return baseDir(file)
}

// checkLocal finds missing files before anything is uploaded.
func checkLocal(file string, job *spec.CommandJob) error {
	var errs []error
	if job.Code != "" && !isRemote(job.Code) {
		if _, err := os.Stat(localPath(file, job.Code)); err != nil {
			errs = append(errs, fmt.Errorf("%s: code: %q does not exist", file, localPath(file, job.Code)))
		}
	}
	names := make([]string, 0, len(job.Inputs))
	for n := range job.Inputs {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		in := job.Inputs[n]
		if in.Literal || isRemote(in.Path) {
			continue
		}
		if err := checkKind(in.Type, localPath(file, in.Path)); err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: inputs.%s.path: %w", file, in.Line, n, err))
		}
	}
	return errors.Join(errs...)
}

// findCompute gives the compute's id, or an error that lists those there are.
func (s *session) findCompute(ctx context.Context, ws arm.ID, name string) (string, error) {
	name = strings.TrimPrefix(name, "azureml:")
	if strings.HasPrefix(name, "/subscriptions/") {
		return name, nil
	}
	path, err := child(ws, "computes", name)
	if err != nil {
		return "", err
	}
	got, err := s.get(ctx, path, apiML)
	if !isNotFound(err) {
		return text(got, "id"), err
	}
	items, listErr := s.List(ctx, ws.String()+"/computes", url.Values{"api-version": {apiML}}, 20)
	if listErr != nil {
		return "", err
	}
	names := make([]string, 0, len(items))
	for _, i := range items {
		names = append(names, text(i, "name"))
	}
	if len(names) == 0 {
		return "", hint(err, "The workspace has no compute yet; attach one with 'fairlead ml compute attach'.")
	}
	return "", hint(err, "compute: %q is not attached to workspace %s; there is: %s", name, ws.Name(), strings.Join(names, ", "))
}

// findCode uploads local code unless the workspace has it by hash, and gives the code version's id.
func (a *app) findCode(ctx context.Context, s *session, ws arm.ID, file, code string) (string, error) {
	switch {
	case code == "":
		return "", nil
	case strings.HasPrefix(code, "azureml:") || strings.HasPrefix(code, "/subscriptions/"):
		ref, err := spec.ParseRef(code)
		if err != nil || ref.ID != "" {
			return ref.ID, err
		}
		return child(ws.Child("codes", ref.Name), "versions", ref.Version)
	case isRemote(code):
		return "", fmt.Errorf("code: %q: fetching code from an address is not supported yet; clone it and give the folder", code)
	}
	snap, err := snapshot.Take(localPath(file, code))
	if err != nil {
		return "", fmt.Errorf("code: %w", err)
	}
	if snap.Size > 1<<30 {
		a.warn("the code folder holds %d MiB; name what is not needed in .amlignore", snap.Size>>20)
	}
	versions := ws.String() + "/codes/" + snap.Hash + "/versions"
	if id, err := s.codeByHash(ctx, versions, snap.Hash); err != nil || id != "" {
		return id, err
	}
	to, uri, err := s.pendingUpload(ctx, versions+"/1")
	if err != nil {
		return "", err
	}
	if err := a.upload(ctx, to, snap, "code"); err != nil {
		// Another submit of the same code may have finished meanwhile; then the container is closed and the code there.
		if id, again := s.codeByHash(ctx, versions, snap.Hash); again == nil && id != "" {
			return id, nil
		}
		return "", fmt.Errorf("uploading code: %w", err)
	}
	got, err := s.put(ctx, versions+"/1", apiML, map[string]any{"properties": map[string]any{
		"codeUri": uri + "/code", "isAnonymous": true,
		"properties": map[string]string{"hash_sha256": snap.Hash, "hash_version": "202208"},
	}}, true)
	return text(got, "id"), err
}

func (s *session) codeByHash(ctx context.Context, versions, hash string) (string, error) {
	items, err := s.List(ctx, versions, url.Values{"api-version": {apiML}, "hash": {hash}, "hashVersion": {"202208"}}, 1)
	if isNotFound(err) || err == nil && len(items) == 0 {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("looking for the code: %w", err)
	}
	return text(items[0], "id"), nil
}

// resolveInputs uploads local data and fills in the addresses.
func (a *app) resolveInputs(ctx context.Context, s *session, ws arm.ID, file string, job *spec.CommandJob, body *ml.CommandJob) error {
	for name, in := range job.Inputs {
		if in.Literal {
			continue
		}
		uri := in.Path
		if !isRemote(uri) {
			var err error
			if uri, err = a.uploadData(ctx, s, ws, "", localPath(file, uri)); err != nil {
				return fmt.Errorf("inputs.%s: %w", name, err)
			}
		}
		body.Inputs[name].URI = uri
	}
	return nil
}
