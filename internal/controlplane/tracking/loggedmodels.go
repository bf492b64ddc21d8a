package tracking

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/tracking/filter"
)

// kindModel is the kind of documents that logged models are; their parent is the experiment.
const kindModel = "logged-model"

// loggedModel is the body of a kindModel.
type loggedModel struct {
	ID         string            `json:"id"`
	Experiment string            `json:"experiment"`
	Name       string            `json:"name"`
	Type       string            `json:"type,omitempty"`
	Run        string            `json:"run,omitempty"`
	Job        string            `json:"job,omitempty"`
	Artifacts  string            `json:"artifacts"`
	Status     string            `json:"status"`
	Created    int64             `json:"created"`
	Updated    int64             `json:"updated"`
	Deleted    bool              `json:"deleted,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	Params     map[string]string `json:"params,omitempty"`
	Metrics    []wireMetric      `json:"metrics,omitempty"`
}

type wireLoggedModel struct {
	Info struct {
		ID         string     `json:"model_id"`
		Experiment string     `json:"experiment_id"`
		Name       string     `json:"name"`
		Created    int64      `json:"creation_timestamp_ms"`
		Updated    int64      `json:"last_updated_timestamp_ms"`
		Artifacts  string     `json:"artifact_uri"`
		Status     string     `json:"status"`
		Type       string     `json:"model_type,omitempty"`
		Run        string     `json:"source_run_id,omitempty"`
		Tags       []keyValue `json:"tags,omitempty"`
	} `json:"info"`
	Data struct {
		Params  []keyValue   `json:"params,omitempty"`
		Metrics []wireMetric `json:"metrics,omitempty"`
	} `json:"data"`
}

func (m loggedModel) wire() (w wireLoggedModel) {
	w.Info.ID, w.Info.Experiment, w.Info.Name, w.Info.Type, w.Info.Run = m.ID, m.Experiment, m.Name, m.Type, m.Run
	w.Info.Created, w.Info.Updated, w.Info.Artifacts, w.Info.Status, w.Info.Tags = m.Created, m.Updated, m.Artifacts, m.Status, pairs(m.Tags)
	w.Data.Params, w.Data.Metrics = pairs(m.Params), m.Metrics
	return w
}

func oneModel(m loggedModel, err error) (any, error) { return map[string]any{"model": m.wire()}, err }

func (c *call) loggedModel(r store.Reader, id string) (m loggedModel, err error) {
	d, err := r.TrackedDoc(c.ctx, c.account, kindModel, id)
	if errors.Is(err, store.ErrNotFound) {
		return m, absent("Logged model with ID '%.100s' not found.", id)
	}
	if err == nil {
		err = decodeDoc(d, &m)
	}
	return m, err
}

func (c *call) putLoggedModel(tx store.Tx, m loggedModel) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return tx.PutTrackedDoc(c.ctx, store.TrackedDoc{Workspace: c.account, Kind: kindModel, ID: m.ID, Parent: m.Experiment, Body: b})
}

// changeLoggedModel reads the model that the path names, changes it and writes it back.
func (c *call) changeLoggedModel(change func(m *loggedModel) error) (m loggedModel, err error) {
	err = c.update(func(tx store.Tx) error {
		if m, err = c.loggedModel(tx, c.vars["model_id"]); err != nil {
			return err
		}
		if err := c.own("logged model", m.ID, m.Job); err != nil {
			return err
		}
		if err := change(&m); err != nil {
			return err
		}
		m.Updated = c.now()
		return c.putLoggedModel(tx, m)
	})
	return m, err
}

func checkModelTexts(what string, in []keyValue, limit int, into map[string]string) (map[string]string, error) {
	texts, err := checkTexts(what, in, limit)
	if err != nil {
		return nil, err
	}
	if into == nil {
		into = map[string]string{}
	}
	for _, t := range texts {
		into[t.Key] = t.Value
	}
	return into, nil
}

func createLoggedModel(c *call) (any, error) {
	var req struct {
		Experiment string     `json:"experiment_id"`
		Name       string     `json:"name"`
		Type       string     `json:"model_type"`
		Run        string     `json:"source_run_id"`
		Params     []keyValue `json:"params"`
		Tags       []keyValue `json:"tags"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	if strings.ContainsAny(req.Name, `/:.%"'`) {
		return nil, invalid("Invalid model name %.300q. A model's name holds none of / : . %% \" '.", req.Name)
	}
	now := c.now()
	m := loggedModel{ID: "m-" + c.cfg.NewID(), Name: cmp.Or(req.Name, inventName()), Type: req.Type, Run: req.Run, Job: c.job, Status: "LOGGED_MODEL_PENDING", Created: now, Updated: now}
	var errTags, errParams error
	m.Tags, errTags = checkModelTexts("tag", req.Tags, maxTag, nil)
	m.Params, errParams = checkModelTexts("param", req.Params, maxParam, nil)
	if err := errors.Join(errTags, errParams, checkLength("name", m.Name, maxExperiment), checkLength("model_type", m.Type, maxExperiment)); err != nil {
		return nil, err
	}
	return oneModel(m, c.update(func(tx store.Tx) error {
		e, err := c.experiment(tx, req.Experiment)
		if err != nil {
			return err
		}
		if err := errors.Join(mustBeActive(e), c.ownExperiment(tx, e.ID)); err != nil {
			return err
		}
		root := c.artifactsOf(e, m.ID)
		if req.Run != "" {
			run, err := c.run(tx, req.Run)
			if err != nil {
				return err
			}
			if err := c.own("run", run.ID, run.Job); err != nil {
				return err
			}
			root = run.Artifacts + "/models/" + m.ID
		}
		m.Experiment, m.Artifacts = e.ID, root
		return c.putLoggedModel(tx, m)
	}))
}

func getLoggedModel(c *call) (any, error) {
	m, err := c.loggedModel(c.store(), c.vars["model_id"])
	if err == nil && m.Deleted && c.r.URL.Query().Get("allow_deleted") != "true" {
		err = absent("Logged model with ID '%s' not found.", m.ID)
	}
	return oneModel(m, err)
}

func finalizeLoggedModel(c *call) (any, error) {
	var req struct {
		Status json.RawMessage `json:"status"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	words := map[string]string{"1": "LOGGED_MODEL_PENDING", "2": "LOGGED_MODEL_READY", "3": "LOGGED_MODEL_UPLOAD_FAILED"}
	status := strings.Trim(string(req.Status), `"`)
	status = cmp.Or(words[status], status)
	if !slices.Contains(slices.Collect(maps.Values(words)), status) {
		return nil, invalid("Invalid value %.100s for parameter 'status' supplied; it must be LOGGED_MODEL_READY or LOGGED_MODEL_UPLOAD_FAILED.", req.Status)
	}
	return oneModel(c.changeLoggedModel(func(m *loggedModel) error {
		m.Status = status
		return nil
	}))
}

func deleteLoggedModel(c *call) (any, error) {
	_, err := c.changeLoggedModel(func(m *loggedModel) error {
		m.Deleted = true
		return nil
	})
	return struct{}{}, err
}

func tagLoggedModel(c *call) (any, error) {
	var req struct {
		Tags []keyValue `json:"tags"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	return oneModel(c.changeLoggedModel(func(m *loggedModel) (err error) {
		m.Tags, err = checkModelTexts("tag", req.Tags, maxTag, m.Tags)
		return err
	}))
}

func untagLoggedModel(c *call) (any, error) {
	_, err := c.changeLoggedModel(func(m *loggedModel) error {
		if _, ok := m.Tags[c.vars["tag_key"]]; !ok {
			return absent("No tag with key '%.250s' found for logged model with ID '%s'.", c.vars["tag_key"], m.ID)
		}
		delete(m.Tags, c.vars["tag_key"])
		return nil
	})
	return struct{}{}, err
}

func paramLoggedModel(c *call) (any, error) {
	var req struct {
		Params []keyValue `json:"params"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	_, err := c.changeLoggedModel(func(m *loggedModel) (err error) {
		m.Params, err = checkModelTexts("param", req.Params, maxParam, m.Params)
		return err
	})
	return struct{}{}, err
}

func listModelArtifacts(c *call) (any, error) {
	m, err := c.loggedModel(c.store(), c.vars["model_id"])
	if err != nil {
		return nil, err
	}
	return c.list(c.ctx, m.Artifacts, c.r.URL.Query().Get("artifact_directory_path"))
}

// logModelMetrics keeps the latest point of each metric that was logged of a model.
func (c *call) logModelMetrics(tx store.Tx, run store.TrackedRun, metrics []wireMetric) error {
	changed := map[string]loggedModel{}
	for _, metric := range metrics {
		if metric.ModelID == "" {
			continue
		}
		m, ok := changed[metric.ModelID]
		if !ok {
			var err error
			if m, err = c.loggedModel(tx, metric.ModelID); err != nil {
				return err
			}
			if err := c.own("logged model", m.ID, m.Job); err != nil {
				return err
			}
		}
		metric = withModel(metricOf(stored(metric)), metric, run.ID)
		i := slices.IndexFunc(m.Metrics, func(have wireMetric) bool {
			return have.Key == metric.Key && have.RunID == metric.RunID && have.DatasetName == metric.DatasetName && have.DatasetDigest == metric.DatasetDigest
		})
		switch {
		case i < 0:
			m.Metrics = append(m.Metrics, metric)
		case cmp.Or(cmp.Compare(metric.Step, m.Metrics[i].Step), cmp.Compare(*metric.Timestamp, *m.Metrics[i].Timestamp)) >= 0:
			m.Metrics[i] = metric
		}
		changed[m.ID] = m
	}
	for _, m := range changed {
		if err := c.putLoggedModel(tx, m); err != nil {
			return err
		}
	}
	return nil
}

func withModel(m, of wireMetric, run string) wireMetric {
	m.ModelID, m.DatasetName, m.DatasetDigest, m.RunID = of.ModelID, of.DatasetName, of.DatasetDigest, run
	return m
}

// modelOrder is a sort key of logged models.
type modelOrder struct {
	Field     string `json:"field_name"`
	Ascending *bool  `json:"ascending"`
}

func searchLoggedModels(c *call) (any, error) {
	var req struct {
		Experiments []string     `json:"experiment_ids"`
		Filter      string       `json:"filter"`
		MaxResults  *integer     `json:"max_results"`
		OrderBy     []modelOrder `json:"order_by"`
		PageToken   string       `json:"page_token"`
		Datasets    []struct {
			Name   string `json:"dataset_name"`
			Digest string `json:"dataset_digest"`
		} `json:"datasets"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	limit, err := limited(req.MaxResults, 100, 1000)
	if err != nil {
		return nil, err
	}
	from, err := parsePage(req.PageToken)
	if err != nil {
		return nil, err
	}
	var clauses []string
	for _, o := range req.OrderBy {
		clause := o.Field
		if o.Ascending != nil && !*o.Ascending {
			clause += " DESC"
		}
		clauses = append(clauses, clause)
	}
	conditions, orders, err := parseSearch(filter.LoggedModels, req.Filter, clauses)
	if err != nil {
		return nil, err
	}
	var found []loggedModel
	for _, id := range req.Experiments {
		e, err := c.experiment(c.store(), id)
		if p := problemOf(err); p != nil && p.Code == codeAbsent {
			continue
		}
		if err != nil {
			return nil, err
		}
		docs, err := c.store().TrackedDocs(c.ctx, c.account, kindModel, e.ID)
		if err != nil {
			return nil, err
		}
		for _, d := range docs {
			var m loggedModel
			if err := decodeDoc(d, &m); err != nil {
				return nil, err
			}
			onDataset := len(req.Datasets) == 0
			for _, set := range req.Datasets {
				onDataset = onDataset || slices.ContainsFunc(m.Metrics, func(v wireMetric) bool {
					return v.DatasetName == set.Name && (set.Digest == "" || set.Digest == v.DatasetDigest)
				})
			}
			if !m.Deleted && onDataset && filter.Match(conditions, modelValues(m)) {
				found = append(found, m)
			}
		}
	}
	slices.SortFunc(found, func(a, b loggedModel) int {
		return cmp.Or(filter.Compare(orders, modelValues(a), modelValues(b)), cmp.Compare(b.Created, a.Created), cmp.Compare(a.ID, b.ID))
	})
	some, next := cut(found, from, limit)
	out := make([]wireLoggedModel, len(some))
	for i, m := range some {
		out[i] = m.wire()
	}
	return listed("models", out, next), nil
}

func modelValues(m loggedModel) filter.Values {
	return filter.Values{
		Number: func(field store.TrackedField, key string) (float64, bool) {
			if field == store.TrackedMetricField {
				for _, v := range slices.Backward(m.Metrics) {
					if v.Key == key {
						return float64(*v.Value), true
					}
				}
				return 0, false
			}
			n, ok := map[string]int64{"creation_timestamp_ms": m.Created, "last_updated_timestamp_ms": m.Updated}[key]
			return float64(n), ok && field == store.TrackedAttribute
		},
		Text: func(field store.TrackedField, key string) (v string, ok bool) {
			switch field {
			case store.TrackedTagField:
				v, ok = m.Tags[key]
			case store.TrackedParamField:
				v, ok = m.Params[key]
			case store.TrackedAttribute:
				v, ok = map[string]string{"name": m.Name, "model_id": m.ID, "model_type": m.Type, "status": strings.TrimPrefix(m.Status, "LOGGED_MODEL_"), "source_run_id": m.Run}[key]
			}
			return v, ok
		},
	}
}
