package tracking

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"

	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/tracking/filter"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/controlplane/types/trackedjob"
)

// runRef is a request that names a run; older clients use the second name.
type runRef struct {
	RunID   string `json:"run_id"`
	RunUUID string `json:"run_uuid"`
}

func (r runRef) id() string { return cmp.Or(r.RunID, r.RunUUID) }

// run reads a run. That of a job which was submitted before there was tracking is made now.
func (c *call) run(r store.Reader, id string) (store.TrackedRun, error) {
	if err := required("run_id", id); err != nil {
		return store.TrackedRun{}, err
	}
	run, err := r.TrackedRun(c.ctx, c.account, id)
	if errors.Is(err, store.ErrNotFound) {
		return run, absent("Run with id=%.256s not found", id)
	}
	return run, err
}

// adopt makes the run of a job that has none; it reports whether there is one now.
func (c *call) adopt(id string) (bool, error) {
	child := c.workspace.Child("jobs", id)
	found := false
	err := c.update(func(tx store.Tx) error {
		rec, err := tx.Get(c.ctx, child.Key())
		if errors.Is(err, store.ErrNotFound) || err == nil && rec.Name != id {
			return nil
		}
		if err != nil {
			return err
		}
		var body struct{ Properties machinelearning.CommandJob }
		if err := json.Unmarshal(rec.Body, &body); err != nil {
			return fmt.Errorf("decoding job %s: %w", rec.Key, err)
		}
		st, err := runstate.Decode(rec)
		if err != nil {
			return err
		}
		found = true
		_, author, _ := strings.Cut(rec.CreatedBy, ":")
		return trackedjob.Add(c.ctx, tx, rec.Name, author, rec.CreatedAt, &body.Properties, st)
	})
	return found, err
}

func createRun(c *call) (any, error) {
	var req struct {
		Experiment string     `json:"experiment_id"`
		UserID     string     `json:"user_id"`
		Name       string     `json:"run_name"`
		Start      integer    `json:"start_time"`
		Tags       []keyValue `json:"tags"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	tags, err := checkTexts("tag", req.Tags, maxTag)
	if err != nil {
		return nil, err
	}
	named := ""
	if i := slices.IndexFunc(tags, func(t store.TrackedText) bool { return t.Key == trackedjob.TagName }); i >= 0 {
		named = tags[i].Value
	}
	if req.Name != "" && named != "" && req.Name != named {
		return nil, invalid("Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values (run_name='%s', mlflow.runName='%s').", req.Name, named)
	}
	name := cmp.Or(req.Name, named)
	if name == "" {
		name = inventName()
	}
	if err := checkLength("run_name", name, maxTag); err != nil {
		return nil, err
	}
	if named == "" {
		tags = append(tags, store.TrackedText{Key: trackedjob.TagName, Value: name})
	}
	run := store.TrackedRun{Workspace: c.account, ID: c.cfg.NewID(), Name: name, User: cmp.Or(req.UserID, c.principal.Name), Status: "RUNNING", Start: int64(req.Start), Job: c.job}
	err = c.update(func(tx store.Tx) error {
		e, err := c.experiment(tx, req.Experiment)
		if err != nil {
			return err
		}
		if err := mustBeActive(e); err != nil {
			return err
		}
		if err := c.ownExperiment(tx, e.ID); err != nil {
			return err
		}
		run.Experiment, run.Artifacts = e.ID, c.artifactsOf(e, run.ID)
		if err := tx.AddTrackedRun(c.ctx, run, tags); err != nil {
			return err
		}
		run, err = tx.TrackedRun(c.ctx, c.account, run.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.answerRun(run)
}

// ownExperiment refuses to let a run's token make runs elsewhere than in the run's own experiment.
func (c *call) ownExperiment(r store.Reader, id string) error {
	if c.job == "" {
		return nil
	}
	own, err := c.run(r, c.job)
	if err == nil && own.Experiment != id {
		err = errorf(http.StatusForbidden, codeDenied, "Run %s starts runs in its own experiment %s only; set the job's experiment_name instead of calling mlflow.set_experiment.", c.job, own.Experiment)
	}
	return err
}

// artifactsOf is where a new run's files go: those of a job's below the job's own, which its token may write.
func (c *call) artifactsOf(e trackedjob.Experiment, id string) string {
	switch {
	case c.folder != "":
		return artifactScheme + "/" + c.folder + "/mlflow/" + id
	case e.Artifacts != "":
		return e.Artifacts + "/" + id + "/artifacts"
	}
	return artifactScheme + "/" + runsFolder + "/dcid." + id
}

// Words of names that are invented.
var (
	nameAdjectives = []string{"able", "brave", "calm", "eager", "fair", "glad", "keen", "mild", "proud", "quick", "swift", "wise"}
	nameNouns      = []string{"anchor", "beacon", "cleat", "fender", "gull", "harbour", "keel", "mast", "otter", "pilot", "rudder", "sail"}
)

func inventName() string {
	return fmt.Sprintf("%s-%s-%d", nameAdjectives[rand.IntN(len(nameAdjectives))], nameNouns[rand.IntN(len(nameNouns))], rand.IntN(1000))
}

func (c *call) answerRun(run store.TrackedRun) (any, error) {
	data, err := c.store().TrackedData(c.ctx, run.Seq)
	if err != nil {
		return nil, err
	}
	return map[string]any{"run": runOf(run, data[run.Seq])}, nil
}

func getRun(c *call) (any, error) {
	var req runRef
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	run, err := c.run(c.store(), req.id())
	if p := problemOf(err); p != nil && p.Code == codeAbsent {
		if made, errMade := c.adopt(req.id()); errMade != nil || !made {
			return nil, errors.Join(errMade, err)
		}
		run, err = c.run(c.store(), req.id())
	}
	if err != nil {
		return nil, err
	}
	return c.answerRun(run)
}

// changeRun runs fn on a run that is active and that the caller may write.
func (c *call) changeRun(id string, fn func(tx store.Tx, run store.TrackedRun) error) error {
	return c.update(func(tx store.Tx) error {
		run, err := c.run(tx, id)
		if err != nil {
			return err
		}
		if err := c.own("run", run.ID, run.Job); err != nil {
			return err
		}
		if run.Deleted {
			return invalid("The run %s must be in the 'active' state. Current state is deleted.", run.ID)
		}
		return fn(tx, run)
	})
}

// statuses are those of RunStatus, by number.
var statuses = []string{"", "RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"}

func updateRun(c *call) (any, error) {
	var req struct {
		runRef
		Status json.RawMessage `json:"status"`
		End    integer         `json:"end_time"`
		Name   string          `json:"run_name"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	status, err := parseStatus(req.Status)
	if err := errors.Join(err, checkLength("run_name", req.Name, maxTag)); err != nil {
		return nil, err
	}
	var out store.TrackedRun
	err = c.changeRun(req.id(), func(tx store.Tx, run store.TrackedRun) error {
		if run.Job != run.ID { // else the job says how far it is
			run.Status = cmp.Or(status, run.Status)
			run.End = cmp.Or(int64(req.End), run.End)
		}
		if req.Name != "" {
			run.Name = req.Name
			if err := tx.LogTracked(c.ctx, run.Seq, nil, nil, []store.TrackedText{{Key: trackedjob.TagName, Value: req.Name}}); err != nil {
				return err
			}
		}
		out = run
		return tx.SetTrackedRun(c.ctx, run)
	})
	return map[string]any{"run_info": infoOf(out)}, err
}

// parseStatus reads a RunStatus by name or number; "" when there is none.
func parseStatus(raw json.RawMessage) (string, error) {
	var word string
	var n integer
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return "", nil
	case json.Unmarshal(raw, &n) == nil && n > 0 && int(n) < len(statuses):
		return statuses[n], nil
	case json.Unmarshal(raw, &word) == nil && word != "" && slices.Contains(statuses, word):
		return word, nil
	}
	return "", invalid("Invalid value %.100s for parameter 'status' supplied; it must be one of %v.", raw, statuses[1:])
}

func markRun(deleted bool) func(c *call) (any, error) {
	return func(c *call) (any, error) {
		var req runRef
		if err := c.decode(&req); err != nil {
			return nil, err
		}
		return struct{}{}, c.update(func(tx store.Tx) error {
			run, err := c.run(tx, req.id())
			if err != nil {
				return err
			}
			if err := c.own("run", run.ID, run.Job); err != nil {
				return err
			}
			run.Deleted = deleted
			return tx.SetTrackedRun(c.ctx, run)
		})
	}
}

// maxSearch bounds a page of runs.
const maxSearch = 50000

func searchRuns(c *call) (any, error) {
	var req struct {
		Experiments []string `json:"experiment_ids"`
		Filter      string   `json:"filter"`
		View        string   `json:"run_view_type"`
		MaxResults  *integer `json:"max_results"`
		OrderBy     []string `json:"order_by"`
		PageToken   string   `json:"page_token"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	limit, err := limited(req.MaxResults, 1000, maxSearch)
	if err != nil {
		return nil, err
	}
	from, err := parsePage(req.PageToken)
	if err != nil {
		return nil, err
	}
	q := store.TrackedQuery{Workspace: c.account, Experiments: req.Experiments, Offset: from.Offset, AfterStart: from.Start, AfterID: from.ID, Limit: limit + 1}
	for i, id := range q.Experiments {
		if id == defaultID {
			q.Experiments[i] = trackedjob.ExperimentID(c.workspaceID, defaultName)
		}
	}
	q.Active, q.Deleted = view(req.View)
	if q.Conditions, q.Orders, err = parseSearch(filter.Runs, req.Filter, req.OrderBy); err != nil {
		return nil, err
	}
	runs, err := c.store().SearchTracked(c.ctx, q)
	if err != nil {
		return nil, err
	}
	out, err := c.withData(runs[:min(limit, len(runs))])
	if err != nil {
		return nil, err
	}
	next := ""
	if len(out) < len(runs) {
		next = nextPage(q, runs[:len(out)]).token()
	}
	return listed("runs", out, next), nil
}

// nextPage continues after the last run where that says enough, since an offset costs what it skips.
func nextPage(q store.TrackedQuery, runs []store.TrackedRun) page {
	if len(q.Orders) > 0 {
		return page{Offset: q.Offset + len(runs)}
	}
	last := runs[len(runs)-1]
	return page{Start: last.Start, ID: last.ID}
}

// dataStep is of how many runs is read at once what they logged.
const dataStep = 500

// withData is runs with what they logged: as many as maxPage allows, at least one where there is one.
func (c *call) withData(runs []store.TrackedRun) ([]wireRun, error) {
	out := make([]wireRun, 0, len(runs))
	for size := int64(0); len(out) < len(runs) && size <= maxPage; {
		step := runs[len(out):min(len(runs), len(out)+dataStep)]
		seqs := make([]int64, len(step))
		for i, r := range step {
			seqs[i] = r.Seq
		}
		sizes, err := c.store().TrackedSizes(c.ctx, seqs...)
		if err != nil {
			return nil, err
		}
		fit := 0
		for ; fit < len(seqs); fit++ {
			s := sizes[seqs[fit]]
			if size += s.Bytes + s.Logged; size > maxPage && len(out)+fit > 0 {
				break
			}
		}
		data, err := c.store().TrackedData(c.ctx, seqs[:fit]...)
		if err != nil {
			return nil, err
		}
		for i, r := range step[:fit] {
			out = append(out, runOf(r, data[seqs[i]]))
		}
	}
	return out, nil
}
