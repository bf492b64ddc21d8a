package tracking

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/tracking/filter"
	"fairlead.dev/fairlead/internal/controlplane/types/trackedjob"
)

// The experiment of runs that name none; clients know it by the id "0", too.
const (
	defaultName = "Default"
	defaultID   = "0"
)

type wireExperiment struct {
	ID        string     `json:"experiment_id"`
	Name      string     `json:"name"`
	Artifacts string     `json:"artifact_location"`
	Lifecycle string     `json:"lifecycle_stage"`
	Updated   int64      `json:"last_update_time"`
	Created   int64      `json:"creation_time"`
	Tags      []keyValue `json:"tags,omitempty"`
}

func experimentOf(e trackedjob.Experiment) wireExperiment {
	return wireExperiment{ID: e.ID, Name: e.Name, Artifacts: cmp.Or(e.Artifacts, artifactScheme+"/"+runsFolder), Lifecycle: stage(e.Deleted), Updated: e.Updated, Created: e.Created, Tags: pairs(e.Tags)}
}

// experimentRef is a request that names an experiment.
type experimentRef struct {
	ID string `json:"experiment_id"`
}

// experiment reads one; the default is there from the beginning.
func (c *call) experiment(r store.Reader, id string) (trackedjob.Experiment, error) {
	var e trackedjob.Experiment
	if err := required("experiment_id", id); err != nil {
		return e, err
	}
	standard := trackedjob.ExperimentID(c.workspaceID, defaultName)
	if id == defaultID {
		id = standard
	}
	d, err := r.TrackedDoc(c.ctx, c.account, trackedjob.KindExperiment, id)
	switch {
	case errors.Is(err, store.ErrNotFound) && id == standard:
		return c.standard(), nil
	case errors.Is(err, store.ErrNotFound):
		return e, absent("No Experiment with id=%.100s exists", id)
	case err != nil:
		return e, err
	}
	return e, decodeDoc(d, &e)
}

// standard is the default experiment before anything was written of it.
func (c *call) standard() trackedjob.Experiment {
	return trackedjob.Experiment{ID: trackedjob.ExperimentID(c.workspaceID, defaultName), Name: defaultName, Created: c.made, Updated: c.made}
}

func decodeDoc(d store.TrackedDoc, into any) error {
	if err := json.Unmarshal(d.Body, into); err != nil {
		return fmt.Errorf("decoding %s %s: %w", d.Kind, d.ID, err)
	}
	return nil
}

func (c *call) putExperiment(tx store.Tx, e trackedjob.Experiment) error {
	docs, err := e.Docs(c.account)
	if err != nil {
		return err
	}
	for _, d := range docs {
		if err := tx.PutTrackedDoc(c.ctx, d); err != nil {
			return err
		}
	}
	return nil
}

func checkExperimentName(name string) error {
	if name == "" {
		return invalid("Invalid experiment name: ''")
	}
	return checkLength("name", name, maxExperiment)
}

func checkExperimentTags(tags []keyValue) (map[string]string, error) {
	out := map[string]string{}
	for _, t := range tags {
		if err := errors.Join(checkName("key", t.Key), checkLength("value", t.Value, maxExpTag)); err != nil {
			return nil, err
		}
		out[t.Key] = t.Value
	}
	return out, nil
}

func createExperiment(c *call) (any, error) {
	var req struct {
		Name      string     `json:"name"`
		Artifacts string     `json:"artifact_location"`
		Tags      []keyValue `json:"tags"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	tags, err := checkExperimentTags(req.Tags)
	if err := errors.Join(err, checkExperimentName(req.Name), checkLength("artifact_location", req.Artifacts, 2048)); err != nil {
		return nil, err
	}
	id := ""
	err = c.update(func(tx store.Tx) error {
		id = trackedjob.ExperimentID(c.workspaceID, req.Name)
		if _, err := c.named(tx, req.Name); problemOf(err) == nil || problemOf(err).Code != codeAbsent {
			if err == nil {
				err = errorf(http.StatusBadRequest, codeExists, "Experiment(name=%s) already exists.", req.Name)
			}
			return err
		}
		if _, err := tx.TrackedDoc(c.ctx, c.account, trackedjob.KindExperiment, id); err == nil {
			id = c.cfg.NewID() // the one that had the name has another now
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		now := c.now()
		return c.putExperiment(tx, trackedjob.Experiment{ID: id, Name: req.Name, Artifacts: strings.TrimSuffix(req.Artifacts, "/"), Created: now, Updated: now, Tags: tags})
	})
	return experimentRef{id}, err
}

// named is the experiment that has a name.
func (c *call) named(r store.Reader, name string) (trackedjob.Experiment, error) {
	d, err := r.TrackedDoc(c.ctx, c.account, trackedjob.KindName, name)
	if errors.Is(err, store.ErrNotFound) {
		if name == defaultName {
			return c.experiment(r, defaultID)
		}
		return trackedjob.Experiment{}, absent("Could not find experiment with name '%.500s'", name)
	}
	var id string
	if err == nil {
		err = decodeDoc(d, &id)
	}
	if err != nil {
		return trackedjob.Experiment{}, err
	}
	return c.experiment(r, id)
}

func getExperiment(c *call) (any, error) {
	var req experimentRef
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	e, err := c.experiment(c.store(), req.ID)
	return map[string]any{"experiment": experimentOf(e)}, err
}

func getExperimentByName(c *call) (any, error) {
	var req struct {
		Name string `json:"experiment_name"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	if err := required("experiment_name", req.Name); err != nil {
		return nil, err
	}
	e, err := c.named(c.store(), req.Name)
	return map[string]any{"experiment": experimentOf(e)}, err
}

// changeExperiment reads an experiment, changes it and writes it back.
func (c *call) changeExperiment(id string, change func(tx store.Tx, e *trackedjob.Experiment) error) (any, error) {
	return struct{}{}, c.update(func(tx store.Tx) error {
		e, err := c.experiment(tx, id)
		if err != nil {
			return err
		}
		if err := change(tx, &e); err != nil {
			return err
		}
		return c.putExperiment(tx, e)
	})
}

func updateExperiment(c *call) (any, error) {
	var req struct {
		ID   string `json:"experiment_id"`
		Name string `json:"new_name"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	if err := checkExperimentName(req.Name); err != nil {
		return nil, err
	}
	return c.changeExperiment(req.ID, func(tx store.Tx, e *trackedjob.Experiment) error {
		if e.Deleted {
			return errorf(http.StatusInternalServerError, codeState, "Cannot rename a non-active experiment.")
		}
		if have, err := c.named(tx, req.Name); err == nil && have.ID != e.ID {
			return errorf(http.StatusBadRequest, codeExists, "Experiment(name=%s) already exists.", req.Name)
		}
		if err := tx.DeleteTrackedDoc(c.ctx, c.account, trackedjob.KindName, e.Name); err != nil {
			return err
		}
		e.Name, e.Updated = req.Name, c.now()
		return nil
	})
}

// markExperiment deletes or restores an experiment with its runs.
func markExperiment(deleted bool) func(c *call) (any, error) {
	return func(c *call) (any, error) {
		var req experimentRef
		if err := c.decode(&req); err != nil {
			return nil, err
		}
		return c.changeExperiment(req.ID, func(tx store.Tx, e *trackedjob.Experiment) error {
			if e.Deleted == deleted {
				return absent("No Experiment with id=%.100s exists that is %s", req.ID, stage(!deleted))
			}
			e.Deleted, e.Updated = deleted, c.now()
			return tx.SetTrackedDeleted(c.ctx, c.account, e.ID, deleted)
		})
	}
}

func tagExperiment(remove bool) func(c *call) (any, error) {
	return func(c *call) (any, error) {
		var req struct {
			ID    string `json:"experiment_id"`
			Key   string `json:"key"`
			Value string `json:"value"`
		}
		if err := c.decode(&req); err != nil {
			return nil, err
		}
		if _, err := checkExperimentTags([]keyValue{{req.Key, req.Value}}); err != nil {
			return nil, err
		}
		return c.changeExperiment(req.ID, func(_ store.Tx, e *trackedjob.Experiment) error {
			if err := mustBeActive(*e); err != nil {
				return err
			}
			if _, has := e.Tags[req.Key]; remove && !has {
				return absent("No tag with key: %s in experiment with id %s", req.Key, e.ID)
			}
			if e.Tags == nil {
				e.Tags = map[string]string{}
			}
			if e.Tags[req.Key] = req.Value; remove {
				delete(e.Tags, req.Key)
			}
			return nil
		})
	}
}

func mustBeActive(e trackedjob.Experiment) error {
	if e.Deleted {
		return invalid("The experiment %s must be in the 'active' state. Current state is deleted.", e.ID)
	}
	return nil
}

// experiments lists all, the default among them.
func (c *call) experiments() ([]trackedjob.Experiment, error) {
	docs, err := c.store().TrackedDocs(c.ctx, c.account, trackedjob.KindExperiment, "")
	if err != nil {
		return nil, err
	}
	out := make([]trackedjob.Experiment, len(docs))
	standard := trackedjob.ExperimentID(c.workspaceID, defaultName)
	there := false
	for i, d := range docs {
		if err := decodeDoc(d, &out[i]); err != nil {
			return nil, err
		}
		there = there || d.ID == standard
	}
	if !there {
		out = append(out, c.standard())
	}
	return out, nil
}

func searchExperiments(c *call) (any, error) {
	var req struct {
		MaxResults *integer `json:"max_results"`
		PageToken  string   `json:"page_token"`
		Filter     string   `json:"filter"`
		OrderBy    []string `json:"order_by"`
		View       string   `json:"view_type"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	limit, err := limited(req.MaxResults, 1000, 50000)
	if err != nil {
		return nil, err
	}
	from, err := parsePage(req.PageToken)
	if err != nil {
		return nil, err
	}
	conditions, orders, err := parseSearch(filter.Experiments, req.Filter, req.OrderBy)
	if err != nil {
		return nil, err
	}
	all, err := c.experiments()
	if err != nil {
		return nil, err
	}
	active, deleted := view(req.View)
	all = slices.DeleteFunc(all, func(e trackedjob.Experiment) bool {
		return (e.Deleted && !deleted) || (!e.Deleted && !active) || !filter.Match(conditions, experimentValues(e))
	})
	slices.SortFunc(all, func(a, b trackedjob.Experiment) int {
		if len(orders) == 0 {
			return cmp.Or(cmp.Compare(b.Created, a.Created), cmp.Compare(a.ID, b.ID))
		}
		return cmp.Or(filter.Compare(orders, experimentValues(a), experimentValues(b)), cmp.Compare(b.ID, a.ID))
	})
	some, next := cut(all, from, limit)
	out := make([]wireExperiment, len(some))
	for i, e := range some {
		out[i] = experimentOf(e)
	}
	return listed("experiments", out, next), nil
}

func experimentValues(e trackedjob.Experiment) filter.Values {
	return filter.Values{
		Number: func(_ store.TrackedField, key string) (float64, bool) {
			n, ok := map[string]int64{"creation_time": e.Created, "last_update_time": e.Updated}[key]
			return float64(n), ok
		},
		Text: func(field store.TrackedField, key string) (string, bool) {
			from := map[string]string{"name": e.Name, "experiment_id": e.ID}
			if field == store.TrackedTagField {
				from = e.Tags
			}
			v, ok := from[key]
			return v, ok
		},
	}
}

// parseSearch reads what a search asks for.
func parseSearch(l filter.Language, text string, orderBy []string) ([]store.TrackedCondition, []store.TrackedOrder, error) {
	conditions, err := l.Parse(text)
	if err != nil {
		return nil, nil, invalid("Invalid filter: %v.", err)
	}
	orders, err := l.ParseOrders(orderBy)
	if err != nil {
		return nil, nil, invalid("Invalid %v.", err)
	}
	return conditions, orders, nil
}

// view reads a ViewType.
func view(word string) (active, deleted bool) {
	switch strings.ToUpper(word) {
	case "ALL", "3":
		return true, true
	case "DELETED_ONLY", "2":
		return false, true
	}
	return true, false
}

// listed is a list and, when there is more, the next page's token.
func listed(name string, values any, next string) any {
	out := map[string]any{name: values}
	if next != "" {
		out["next_page_token"] = next
	}
	return out
}
