package tracking

import (
	"encoding/json"
	"errors"
	"slices"

	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/trackedjob"
)

func logMetric(c *call) (any, error) {
	var ref runRef
	var metric wireMetric
	if err := errors.Join(c.decode(&ref), c.decode(&metric)); err != nil {
		return nil, err
	}
	return c.log(ref.id(), []wireMetric{metric}, nil, nil)
}

func logParameter(c *call) (any, error) {
	var req struct {
		runRef
		keyValue
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	return c.log(req.id(), nil, []keyValue{req.keyValue}, nil)
}

func setTag(c *call) (any, error) {
	var req struct {
		runRef
		keyValue
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	return c.log(req.id(), nil, nil, []keyValue{req.keyValue})
}

func logBatch(c *call) (any, error) {
	if len(c.body) > maxLog {
		return nil, invalid("Batched logging API requests must be at most %d bytes, got a request of size %d.", maxLog, len(c.body))
	}
	var req struct {
		runRef
		Metrics []wireMetric `json:"metrics"`
		Params  []keyValue   `json:"params"`
		Tags    []keyValue   `json:"tags"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	for _, l := range []struct {
		what      string
		limit, is int
	}{{"metrics", maxMetrics, len(req.Metrics)}, {"params", maxTexts, len(req.Params)}, {"tags", maxTexts, len(req.Tags)},
		{"metrics, params, and tags", maxEntities, len(req.Metrics) + len(req.Params) + len(req.Tags)}} {
		if l.is > l.limit {
			return nil, invalid("A batch logging request can contain at most %d %s. Got %d %s. Please split up %s across multiple requests and try again.", l.limit, l.what, l.is, l.what, l.what)
		}
	}
	seen := map[string]bool{}
	for _, p := range req.Params {
		if seen[p.Key] {
			return nil, invalid("Duplicate parameter keys have been submitted: '%s'. Please ensure the request contains only one param value per param key.", p.Key)
		}
		seen[p.Key] = true
	}
	return c.log(req.id(), req.Metrics, req.Params, req.Tags)
}

// log writes to a run, all of it or nothing.
func (c *call) log(id string, wireMetrics []wireMetric, wireParams, wireTags []keyValue) (any, error) {
	metrics, err := checkMetrics(wireMetrics)
	if err != nil {
		return nil, err
	}
	params, err := checkTexts("param", wireParams, maxParam)
	if err != nil {
		return nil, err
	}
	tags, err := checkTexts("tag", wireTags, maxTag)
	if err != nil {
		return nil, err
	}
	return struct{}{}, c.changeRun(id, func(tx store.Tx, run store.TrackedRun) error {
		if err := c.checkParams(tx, run, params); err != nil {
			return err
		}
		for _, t := range tags {
			if t.Key == trackedjob.TagName {
				run.Name = t.Value
				if err := tx.SetTrackedRun(c.ctx, run); err != nil {
					return err
				}
			}
		}
		if err := tx.LogTracked(c.ctx, run.Seq, metrics, params, tags); err != nil {
			return err
		}
		return c.logModelMetrics(tx, run, wireMetrics)
	})
}

// checkParams refuses to change parameters that a run has.
func (c *call) checkParams(tx store.Tx, run store.TrackedRun, params []store.TrackedText) error {
	if len(params) == 0 {
		return nil
	}
	keys := make([]string, len(params))
	for i, p := range params {
		keys[i] = p.Key
	}
	old, err := tx.TrackedTexts(c.ctx, run.Seq, store.TrackedParamField, keys...)
	if err != nil {
		return err
	}
	have := map[string]string{}
	for _, p := range old {
		have[p.Key] = p.Value
	}
	for _, p := range params {
		if old, ok := have[p.Key]; ok && old != p.Value {
			return invalid("Changing param values is not allowed. Param with key='%s' was already logged with value='%.200s' for run ID='%s'. Attempted logging new value '%.200s'.", p.Key, old, run.ID, p.Value)
		}
	}
	return nil
}

func deleteTag(c *call) (any, error) {
	var req struct {
		runRef
		Key string `json:"key"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	return struct{}{}, c.changeRun(req.id(), func(tx store.Tx, run store.TrackedRun) error {
		tags, err := tx.TrackedTexts(c.ctx, run.Seq, store.TrackedTagField, req.Key)
		if err != nil {
			return err
		}
		if len(tags) == 0 {
			return absent("No tag with name: %.250s in run with id %s", req.Key, run.ID)
		}
		return tx.DeleteTrackedTag(c.ctx, run.Seq, req.Key)
	})
}

// tagContext says what a data set was read for, tagModels holds the models of older clients.
const (
	tagContext = "mlflow.data.context"
	tagModels  = "mlflow.log-model.history"
)

func logInputs(c *call) (any, error) {
	var req struct {
		runRef
		Datasets []wireInput `json:"datasets"`
		Models   []wireModel `json:"models"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	if len(req.Datasets) > maxEntities {
		return nil, invalid("A request can log at most %d datasets. Got %d.", maxEntities, len(req.Datasets))
	}
	var sets []store.TrackedDataset
	for _, in := range req.Datasets {
		set, err := datasetOf(in)
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	return struct{}{}, c.changeRun(req.id(), func(tx store.Tx, run store.TrackedRun) error {
		if err := tx.AddTrackedDatasets(c.ctx, run.Seq, sets); err != nil {
			return err
		}
		if err := c.checkDatasets(tx, run); err != nil {
			return err
		}
		return c.addModels(tx, run, req.Models, nil)
	})
}

// checkDatasets bounds what a run has of data sets, which is answered with every reading of it.
func (c *call) checkDatasets(tx store.Tx, run store.TrackedRun) error {
	sizes, err := tx.TrackedSizes(c.ctx, run.Seq)
	if err != nil {
		return err
	}
	if s := sizes[run.Seq]; s.Datasets > maxEntities || s.Bytes > maxDatasets {
		return invalid("A run has at most %d datasets of together %d bytes, and run %s would have %d of %d bytes. Log smaller schemas and profiles, or to another run.",
			maxEntities, maxDatasets, run.ID, s.Datasets, s.Bytes)
	}
	return nil
}

func datasetOf(in wireInput) (set store.TrackedDataset, err error) {
	for _, f := range []struct {
		name, value string
		limit       int
		needed      bool
	}{{"dataset.name", in.Dataset.Name, 500, true}, {"dataset.digest", in.Dataset.Digest, 36, true}, {"dataset.source_type", in.Dataset.SourceType, 36, true},
		{"dataset.source", in.Dataset.Source, 65535, true}, {"dataset.schema", in.Dataset.Schema, 1048575, false}, {"dataset.profile", in.Dataset.Profile, 16777215, false}} {
		if f.needed {
			err = required(f.name, f.value)
		}
		if err == nil {
			err = checkLength(f.name, f.value, f.limit)
		}
		if err != nil {
			return set, err
		}
	}
	set.Name, set.Digest = in.Dataset.Name, in.Dataset.Digest
	for _, t := range in.Tags {
		if t.Key == tagContext {
			set.Context = t.Value
		}
	}
	set.Body, err = json.Marshal(in)
	return set, err
}

func logOutputs(c *call) (any, error) {
	var req struct {
		runRef
		Models []wireModel `json:"models"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	return struct{}{}, c.changeRun(req.id(), func(tx store.Tx, run store.TrackedRun) error { return c.addModels(tx, run, nil, req.Models) })
}

// addModels says which logged models a run read and made.
func (c *call) addModels(tx store.Tx, run store.TrackedRun, reads, makes []wireModel) error {
	if len(reads)+len(makes) == 0 {
		return nil
	}
	var models runModels
	if len(run.Models) > 0 {
		if err := json.Unmarshal(run.Models, &models); err != nil {
			return err
		}
	}
	add := func(list, more []wireModel) []wireModel {
		for _, m := range more {
			if !slices.ContainsFunc(list, func(have wireModel) bool { return have.ModelID == m.ModelID }) {
				list = append(list, m)
			}
		}
		return list
	}
	models.Read, models.Made = add(models.Read, reads), add(models.Made, makes)
	if n := len(models.Read) + len(models.Made); n > maxEntities {
		return invalid("A run has at most %d models, and this would be %d.", maxEntities, n)
	}
	var err error
	if run.Models, err = json.Marshal(models); err != nil {
		return err
	}
	return tx.SetTrackedRun(c.ctx, run)
}

// logModel is how clients before MLflow 3 say that a run has a model: a tag holds them all.
func logModel(c *call) (any, error) {
	var req struct {
		runRef
		Model string `json:"model_json"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	var model map[string]any
	if err := json.Unmarshal([]byte(req.Model), &model); err != nil {
		return nil, invalid("Malformed model info. model_json is not an object: %v.", err)
	}
	return struct{}{}, c.changeRun(req.id(), func(tx store.Tx, run store.TrackedRun) error {
		tags, err := tx.TrackedTexts(c.ctx, run.Seq, store.TrackedTagField, tagModels)
		if err != nil {
			return err
		}
		var all []any
		for _, t := range tags {
			if json.Unmarshal([]byte(t.Value), &all) != nil {
				all = nil
			}
		}
		b, err := json.Marshal(append(all, model))
		if err != nil {
			return err
		}
		if err := checkLength(tagModels, string(b), maxTag); err != nil {
			return err
		}
		return tx.LogTracked(c.ctx, run.Seq, nil, nil, []store.TrackedText{{Key: tagModels, Value: string(b)}})
	})
}
