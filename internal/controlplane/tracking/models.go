package tracking

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/tracking/filter"
)

// Properties of models and their versions that hold what MLflow knows of them and the workspace does not.
const (
	propAlias   = "mlflow.alias." // + alias, of the model: the version
	propSource  = "mlflow.source"
	propRun     = "mlflow.runId"
	propRunLink = "mlflow.runLink"
	propStage   = "mlflow.stage"
	propLogged  = "mlflow.modelId"
)

// modelName is how models of a workspace are named.
var modelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$`)

// registered is a model of the workspace.
type registered struct {
	rec   store.Record
	props machinelearning.AssetContainer
}

type wireAlias struct {
	Alias   string `json:"alias"`
	Version string `json:"version"`
}

type wireRegistered struct {
	Name        string        `json:"name"`
	Created     int64         `json:"creation_timestamp"`
	Updated     int64         `json:"last_updated_timestamp"`
	Description string        `json:"description,omitempty"`
	Latest      []wireVersion `json:"latest_versions,omitempty"`
	Tags        []keyValue    `json:"tags,omitempty"`
	Aliases     []wireAlias   `json:"aliases,omitempty"`
}

func (m registered) aliases() (out []wireAlias) {
	for _, kv := range pairs(m.props.Properties) {
		if alias, ok := strings.CutPrefix(kv.Key, propAlias); ok {
			out = append(out, wireAlias{alias, kv.Value})
		}
	}
	return out
}

func decodeModel(rec store.Record) (registered, error) {
	var body struct {
		Properties machinelearning.AssetContainer `json:"properties"`
	}
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		return registered{}, fmt.Errorf("decoding model %s: %w", rec.Key, err)
	}
	return registered{rec, body.Properties}, nil
}

func (c *call) modelID(name string) (arm.ID, error) {
	if err := required("name", name); err != nil {
		return arm.ID{}, err
	}
	if !modelName.MatchString(name) {
		return arm.ID{}, invalid("Invalid model name '%.300s'. A model has a name of 1 to 255 letters, digits, '-', '_' and '.', beginning with a letter or digit.", name)
	}
	return c.workspace.Child("models", name), nil
}

func (c *call) model(name string) (registered, arm.ID, error) {
	id, err := c.modelID(name)
	if err != nil {
		return registered{}, id, err
	}
	rec, err := c.store().Get(c.ctx, id.Key())
	if errors.Is(err, store.ErrNotFound) {
		return registered{}, id, absent("Registered Model with name=%.300s not found", name)
	}
	if err != nil {
		return registered{}, id, err
	}
	m, err := decodeModel(rec)
	return m, id, err
}

// wire completes a model with the latest version of each stage.
func (c *call) wire(m registered) (wireRegistered, error) {
	versions, err := c.versions(m)
	out := wireRegistered{Name: m.rec.Name, Created: m.rec.CreatedAt.UnixMilli(), Updated: m.rec.UpdatedAt.UnixMilli(), Description: m.props.Description,
		Tags: pairs(m.props.Tags), Aliases: m.aliases()}
	for _, v := range latest(versions) {
		out.Latest = append(out.Latest, v.wire(m))
	}
	return out, err
}

func (c *call) answerModel(name string) (any, error) {
	m, _, err := c.model(name)
	if err != nil {
		return nil, err
	}
	w, err := c.wire(m)
	return map[string]any{"registered_model": w}, err
}

// put writes a model or a version; merge changes what is there, else it must not be there.
func (c *call) put(id arm.ID, properties map[string]any, merge bool) error {
	b, err := json.Marshal(map[string]any{"properties": properties})
	if err != nil {
		return fmt.Errorf("encoding %s: %w", id, err)
	}
	req := engine.PutRequest{ID: id, Principal: c.principal, Body: b, Merge: merge}
	if !merge {
		req.IfNoneMatch = "*"
	}
	_, err = c.cfg.Engine.Put(c.ctx, req)
	return err
}

// modelRef is a request about a model or one of its versions.
type modelRef struct {
	Name        string     `json:"name"`
	Version     string     `json:"version"`
	NewName     string     `json:"new_name"`
	Description *string    `json:"description"`
	Tags        []keyValue `json:"tags"`
	Key         string     `json:"key"`
	Value       string     `json:"value"`
	Alias       string     `json:"alias"`
	Stage       string     `json:"stage"`
	Stages      []string   `json:"stages"`
	Archive     bool       `json:"archive_existing_versions"`
	Source      string     `json:"source"`
	RunID       string     `json:"run_id"`
	RunLink     string     `json:"run_link"`
	ModelID     string     `json:"model_id"`
}

// modelCall reads the request of an operation on models.
func (c *call) modelCall() (req modelRef, err error) { return req, c.decode(&req) }

func createModel(c *call) (any, error) {
	req, err := c.modelCall()
	if err != nil {
		return nil, err
	}
	id, err := c.modelID(req.Name)
	if err != nil {
		return nil, err
	}
	tags, err := checkModelTexts("tag", req.Tags, maxModelTag, nil)
	if err != nil {
		return nil, err
	}
	properties := map[string]any{"tags": tags}
	if req.Description != nil {
		properties["description"] = *req.Description
	}
	err = c.put(id, properties, false)
	if e, ok := errors.AsType[*arm.Error](err); ok && e.Status == http.StatusPreconditionFailed {
		return nil, errorf(http.StatusBadRequest, codeExists, "Registered Model (name=%s) already exists.", req.Name)
	}
	if err != nil {
		return nil, err
	}
	return c.answerModel(req.Name)
}

func getModel(c *call) (any, error) {
	req, err := c.modelCall()
	if err != nil {
		return nil, err
	}
	return c.answerModel(req.Name)
}

func renameModel(c *call) (any, error) {
	return nil, invalid("Models of a workspace keep their name, since jobs and deployments know them by it. Register the version anew under the other name.")
}

func updateModel(c *call) (any, error) {
	return c.changeModel(func(req modelRef, _ registered) (map[string]any, error) {
		if req.Description == nil {
			return nil, nil
		}
		return map[string]any{"description": *req.Description}, nil
	}, true)
}

// changeModel merges what change says into a model.
func (c *call) changeModel(change func(req modelRef, m registered) (map[string]any, error), answer bool) (any, error) {
	req, err := c.modelCall()
	if err != nil {
		return nil, err
	}
	m, id, err := c.model(req.Name)
	if err != nil {
		return nil, err
	}
	properties, err := change(req, m)
	if err == nil && properties != nil {
		err = c.put(id, properties, true)
	}
	if err != nil || !answer {
		return struct{}{}, err
	}
	return c.answerModel(req.Name)
}

func deleteModel(c *call) (any, error) {
	req, err := c.modelCall()
	if err != nil {
		return nil, err
	}
	_, id, err := c.model(req.Name)
	if err != nil {
		return nil, err
	}
	_, err = c.cfg.Engine.Delete(c.ctx, engine.DeleteRequest{ID: id, Principal: c.principal})
	return struct{}{}, err
}

func tagModel(remove bool) func(c *call) (any, error) {
	return func(c *call) (any, error) {
		return c.changeModel(func(req modelRef, _ registered) (map[string]any, error) { return tagPatch(req, remove) }, false)
	}
}

// tagPatch sets or removes one tag.
func tagPatch(req modelRef, remove bool) (map[string]any, error) {
	tags, err := checkModelTexts("tag", []keyValue{{req.Key, req.Value}}, maxModelTag, nil)
	if err != nil {
		return nil, err
	}
	value := any(tags[req.Key])
	if remove {
		value = nil
	}
	return map[string]any{"tags": map[string]any{req.Key: value}}, nil
}

func checkAlias(alias string) error {
	ok := alias != "" && !strings.EqualFold(alias, "latest") && strings.IndexFunc(alias, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) < 0
	if rest := strings.TrimLeft(alias, "vV"); ok && len(alias)-len(rest) == 1 && rest != "" {
		_, err := strconv.Atoi(rest)
		ok = err != nil
	}
	if !ok || len(alias) > 255 {
		return invalid("Invalid alias name: '%.300s'. An alias is 1 to 255 letters, digits, '_' and '-', and neither 'latest' nor a version such as 'v1'.", alias)
	}
	return nil
}

func setAlias(c *call) (any, error) {
	return c.changeModel(func(req modelRef, m registered) (map[string]any, error) {
		if err := checkAlias(req.Alias); err != nil {
			return nil, err
		}
		v, err := c.version(m, req.Version)
		return map[string]any{"properties": map[string]any{propAlias + req.Alias: v.rec.Name}}, err
	}, false)
}

func deleteAlias(c *call) (any, error) {
	return c.changeModel(func(req modelRef, _ registered) (map[string]any, error) {
		return map[string]any{"properties": map[string]any{propAlias + req.Alias: nil}}, checkAlias(req.Alias)
	}, false)
}

func getByAlias(c *call) (any, error) {
	req, err := c.modelCall()
	if err != nil {
		return nil, err
	}
	m, _, err := c.model(req.Name)
	if err != nil {
		return nil, err
	}
	version := m.props.Properties[propAlias+req.Alias]
	if strings.EqualFold(req.Alias, "latest") {
		all, err := c.versions(m)
		if err != nil || len(all) == 0 {
			return nil, cmp.Or(err, error(absent("Model %s has no version.", req.Name)))
		}
		version = all[0].rec.Name
	}
	if version == "" {
		return nil, invalid("Registered model alias %.255s not found.", req.Alias)
	}
	return c.answerVersion(req.Name, version)
}

// models lists all models that are not archived.
func (c *call) models(ctx context.Context) (out []registered, err error) {
	typ := strings.ToLower("Microsoft.MachineLearningServices/workspaces/models")
	for after := int64(0); ; {
		recs, err := c.store().List(ctx, store.Query{Type: typ, Parent: c.workspace.Key(), After: after, Limit: 1000})
		if err != nil {
			return nil, err
		}
		for _, rec := range recs {
			m, err := decodeModel(rec)
			if err != nil {
				return nil, err
			}
			out, after = append(out, m), rec.Seq
		}
		if len(recs) < 1000 {
			return out, nil
		}
	}
}

// search is a request for models or versions.
type search struct {
	Filter     string   `json:"filter"`
	MaxResults *integer `json:"max_results"`
	OrderBy    []string `json:"order_by"`
	PageToken  string   `json:"page_token"`

	limit      int
	from       page
	conditions []store.TrackedCondition
	orders     []store.TrackedOrder
}

func (c *call) search(l filter.Language, standard, most int) (req search, err error) {
	if err := c.decode(&req); err != nil {
		return req, err
	}
	if req.limit, err = limited(req.MaxResults, standard, most); err != nil {
		return req, err
	}
	if req.from, err = parsePage(req.PageToken); err != nil {
		return req, err
	}
	req.conditions, req.orders, err = parseSearch(l, req.Filter, req.OrderBy)
	return req, err
}

func searchModels(c *call) (any, error) {
	req, err := c.search(filter.Models, 100, 1000)
	if err != nil {
		return nil, err
	}
	all, err := c.models(c.ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(m registered) bool { return !filter.Match(req.conditions, registeredValues(m)) })
	slices.SortFunc(all, func(a, b registered) int {
		return cmp.Or(filter.Compare(req.orders, registeredValues(a), registeredValues(b)), cmp.Compare(a.rec.Name, b.rec.Name))
	})
	some, next := cut(all, req.from, req.limit)
	out := make([]wireRegistered, len(some))
	for i, m := range some {
		if out[i], err = c.wire(m); err != nil {
			return nil, err
		}
	}
	return listed("registered_models", out, next), nil
}

func registeredValues(m registered) filter.Values {
	return filter.Values{
		Number: func(_ store.TrackedField, key string) (float64, bool) {
			n, ok := map[string]int64{"creation_timestamp": m.rec.CreatedAt.UnixMilli(), "timestamp": m.rec.UpdatedAt.UnixMilli(), "last_updated_timestamp": m.rec.UpdatedAt.UnixMilli()}[key]
			return float64(n), ok
		},
		Text: func(field store.TrackedField, key string) (string, bool) {
			if field == store.TrackedTagField {
				v, ok := m.props.Tags[key]
				return v, ok
			}
			return m.rec.Name, key == "name"
		},
	}
}
