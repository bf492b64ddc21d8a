package tracking

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/tracking/filter"
)

// artifactPaths begins the modelUri of what is among the workspace's artifacts.
const artifactPaths = "azureml://datastores/workspaceartifactstore/paths/"

// stages are those of versions.
var stages = []string{"None", "Staging", "Production", "Archived"}

// version is a version of a model whose name is a number; clients of MLflow know no others.
type version struct {
	rec    store.Record
	number int
	props  machinelearning.ModelVersionProperties
}

type wireVersion struct {
	Name        string     `json:"name"`
	Version     string     `json:"version"`
	Created     int64      `json:"creation_timestamp"`
	Updated     int64      `json:"last_updated_timestamp"`
	UserID      string     `json:"user_id,omitempty"`
	Stage       string     `json:"current_stage"`
	Description string     `json:"description,omitempty"`
	Source      string     `json:"source"`
	RunID       string     `json:"run_id,omitempty"`
	RunLink     string     `json:"run_link,omitempty"`
	ModelID     string     `json:"model_id,omitempty"`
	Status      string     `json:"status"`
	Tags        []keyValue `json:"tags,omitempty"`
	Aliases     []string   `json:"aliases,omitempty"`
}

func (v version) stage() string { return cmp.Or(v.props.Properties[propStage], stages[0]) }

func (v version) source() string { return cmp.Or(v.props.Properties[propSource], v.props.ModelURI) }

func (v version) wire(m registered) wireVersion {
	p := v.props.Properties
	_, user, _ := strings.Cut(v.rec.CreatedBy, ":")
	out := wireVersion{Name: m.rec.Name, Version: v.rec.Name, Created: v.rec.CreatedAt.UnixMilli(), Updated: v.rec.UpdatedAt.UnixMilli(), UserID: user,
		Stage: v.stage(), Description: v.props.Description, Source: v.source(), RunID: p[propRun], RunLink: p[propRunLink], ModelID: p[propLogged],
		Status: "READY", Tags: pairs(v.props.Tags)}
	for _, a := range m.aliases() {
		if a.Version == v.rec.Name {
			out.Aliases = append(out.Aliases, a.Alias)
		}
	}
	return out
}

// versions lists a model's versions that are not archived, the highest first.
func (c *call) versions(m registered) (out []version, err error) {
	for after := int64(0); ; {
		recs, err := c.store().List(c.ctx, store.Query{Type: m.rec.Type + "/versions", Parent: m.rec.Key, After: after, Limit: 1000})
		if err != nil {
			return nil, err
		}
		for _, rec := range recs {
			after = rec.Seq
			v, err := decodeVersion(rec)
			if err != nil {
				return nil, err
			}
			if v.number > 0 {
				out = append(out, v)
			}
		}
		if len(recs) < 1000 {
			slices.SortFunc(out, func(a, b version) int { return cmp.Compare(b.number, a.number) })
			return out, nil
		}
	}
}

func decodeVersion(rec store.Record) (version, error) {
	var body struct {
		Properties machinelearning.ModelVersionProperties `json:"properties"`
	}
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		return version{}, fmt.Errorf("decoding model version %s: %w", rec.Key, err)
	}
	n, err := strconv.Atoi(rec.Name)
	if err != nil || strconv.Itoa(n) != rec.Name {
		n = 0
	}
	return version{rec, n, body.Properties}, nil
}

// latest are the highest versions of each stage.
func latest(all []version) (out []version) {
	seen := map[string]bool{}
	for _, v := range all {
		if !seen[v.stage()] {
			seen[v.stage()] = true
			out = append(out, v)
		}
	}
	return out
}

func (c *call) version(m registered, name string) (version, error) {
	if _, err := strconv.Atoi(name); err != nil {
		return version{}, invalid("Parameter 'version' must be an integer, got '%.100s'.", name)
	}
	rec, err := c.store().Get(c.ctx, m.rec.Key+"/versions/"+name)
	if errors.Is(err, store.ErrNotFound) {
		return version{}, absent("Model Version (name=%s, version=%s) not found", m.rec.Name, name)
	}
	if err != nil {
		return version{}, err
	}
	return decodeVersion(rec)
}

func (c *call) modelAndVersion(model, name string) (m registered, id arm.ID, v version, err error) {
	if m, id, err = c.model(model); err == nil {
		v, err = c.version(m, name)
	}
	return m, id, v, err
}

func (c *call) answerVersion(model, name string) (any, error) {
	m, _, v, err := c.modelAndVersion(model, name)
	return map[string]any{"model_version": v.wire(m)}, err
}

// place is where in the artifacts a source leads.
func (c *call) place(req modelRef) (string, error) {
	source := req.Source
	if id, ok := strings.CutPrefix(source, "models:/"); ok && !strings.Contains(id, "/") {
		m, err := c.loggedModel(c.store(), id)
		if err != nil {
			return "", err
		}
		source = m.Artifacts
	}
	if rest, ok := strings.CutPrefix(source, artifactPaths); ok {
		source = artifactScheme + "/" + rest
	}
	if !strings.HasPrefix(source, artifactScheme) {
		return "", invalid("Invalid model version source: '%.300s'. A model of the workspace is made of artifacts that were logged here (%s/…, runs:/… or models:/…); for files elsewhere use fairlead ml model create.", req.Source, artifactScheme)
	}
	return local(source)
}

func createVersion(c *call) (any, error) {
	req, err := c.modelCall()
	if err != nil {
		return nil, err
	}
	m, id, err := c.model(req.Name)
	if err != nil {
		return nil, err
	}
	if err := required("source", req.Source); err != nil {
		return nil, err
	}
	place, err := c.place(req)
	if err != nil {
		return nil, err
	}
	tags, err := checkModelTexts("tag", req.Tags, maxModelTag, nil)
	if err != nil {
		return nil, err
	}
	own := map[string]string{propSource: req.Source}
	for key, value := range map[string]string{propRun: req.RunID, propRunLink: req.RunLink, propLogged: req.ModelID} {
		if value != "" {
			own[key] = value
		}
	}
	properties := map[string]any{"modelType": "mlflow_model", "modelUri": artifactPaths + place, "tags": tags, "properties": own, "flavors": map[string]any{"python_function": map[string]any{}}}
	if req.Description != nil {
		properties["description"] = *req.Description
	}
	for { // until the number was not taken meanwhile
		all, err := c.versions(m)
		if err != nil {
			return nil, err
		}
		next := 1
		if len(all) > 0 {
			next = all[0].number + 1
		}
		err = c.put(id.Child("versions", strconv.Itoa(next)), properties, false)
		if e, ok := errors.AsType[*arm.Error](err); ok && e.Status == http.StatusPreconditionFailed && c.ctx.Err() == nil {
			if rec, errGet := c.version(m, strconv.Itoa(next)); errGet == nil && rec.rec.Archived {
				return nil, errorf(http.StatusConflict, "RESOURCE_CONFLICT", "Version %d of %s is archived; restore or delete it first.", next, req.Name)
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		return c.answerVersion(req.Name, strconv.Itoa(next))
	}
}

func getVersion(c *call) (any, error) {
	req, err := c.modelCall()
	if err != nil {
		return nil, err
	}
	return c.answerVersion(req.Name, req.Version)
}

// changeVersion merges what change says into a version.
func (c *call) changeVersion(change func(req modelRef, m registered, v version) (map[string]any, error), answer bool) (any, error) {
	req, err := c.modelCall()
	if err != nil {
		return nil, err
	}
	m, id, v, err := c.modelAndVersion(req.Name, req.Version)
	if err != nil {
		return nil, err
	}
	properties, err := change(req, m, v)
	if err == nil && properties != nil {
		err = c.put(id.Child("versions", v.rec.Name), properties, true)
	}
	if err != nil || !answer {
		return struct{}{}, err
	}
	return c.answerVersion(req.Name, req.Version)
}

func updateVersion(c *call) (any, error) {
	return c.changeVersion(func(req modelRef, _ registered, _ version) (map[string]any, error) {
		if req.Description == nil {
			return nil, nil
		}
		return map[string]any{"description": *req.Description}, nil
	}, true)
}

func tagVersion(remove bool) func(c *call) (any, error) {
	return func(c *call) (any, error) {
		return c.changeVersion(func(req modelRef, _ registered, _ version) (map[string]any, error) { return tagPatch(req, remove) }, false)
	}
}

func deleteVersion(c *call) (any, error) {
	return c.changeVersion(func(req modelRef, m registered, v version) (map[string]any, error) {
		id, err := c.modelID(req.Name)
		if err != nil {
			return nil, err
		}
		if _, err := c.cfg.Engine.Delete(c.ctx, engine.DeleteRequest{ID: id.Child("versions", v.rec.Name), Principal: c.principal}); err != nil {
			return nil, err
		}
		gone := map[string]any{}
		for _, a := range m.aliases() {
			if a.Version == v.rec.Name {
				gone[propAlias+a.Alias] = nil
			}
		}
		if len(gone) == 0 {
			return nil, nil
		}
		return nil, c.put(id, map[string]any{"properties": gone}, true)
	}, false)
}

// stageNamed is a stage in any case.
func stageNamed(word string) (string, error) {
	for _, s := range stages {
		if strings.EqualFold(s, word) {
			return s, nil
		}
	}
	return "", invalid("Invalid Model Version stage: %.100s. Value must be one of %s.", word, strings.Join(stages, ", "))
}

func transitionStage(c *call) (any, error) {
	return c.changeVersion(func(req modelRef, m registered, v version) (map[string]any, error) {
		to, err := stageNamed(req.Stage)
		if err != nil {
			return nil, err
		}
		if req.Archive && to != "Staging" && to != "Production" {
			return nil, invalid("Model version transition cannot archive existing model versions because '%s' is not an Active stage. Valid stages are Staging and Production.", to)
		}
		if req.Archive {
			if err := c.archiveStage(m, v, to); err != nil {
				return nil, err
			}
		}
		return map[string]any{"properties": map[string]any{propStage: to}}, nil
	}, true)
}

// archiveStage moves all other versions of a stage to Archived.
func (c *call) archiveStage(m registered, but version, stage string) error {
	all, err := c.versions(m)
	if err != nil {
		return err
	}
	id, err := c.modelID(m.rec.Name)
	for _, v := range all {
		if err == nil && v.number != but.number && v.stage() == stage {
			err = c.put(id.Child("versions", v.rec.Name), map[string]any{"properties": map[string]any{propStage: "Archived"}}, true)
		}
	}
	return err
}

func latestVersions(c *call) (any, error) {
	req, err := c.modelCall()
	if err != nil {
		return nil, err
	}
	m, _, err := c.model(req.Name)
	if err != nil {
		return nil, err
	}
	var wanted []string
	for _, word := range req.Stages {
		s, err := stageNamed(word)
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, s)
	}
	all, err := c.versions(m)
	out := []wireVersion{}
	for _, v := range latest(all) {
		if len(wanted) == 0 || slices.Contains(wanted, v.stage()) {
			out = append(out, v.wire(m))
		}
	}
	return map[string]any{"model_versions": out}, err
}

func downloadURI(c *call) (any, error) {
	req, err := c.modelCall()
	if err != nil {
		return nil, err
	}
	m, _, v, err := c.modelAndVersion(req.Name, req.Version)
	if err != nil {
		return nil, err
	}
	path, ok := strings.CutPrefix(v.props.ModelURI, artifactPaths)
	if !ok {
		return nil, errorf(http.StatusNotImplemented, "NOT_IMPLEMENTED", "Model %s:%s was not logged by MLflow; its files are at %s. Download it with fairlead ml model download.", m.rec.Name, v.rec.Name, v.props.ModelURI)
	}
	return map[string]any{"artifact_uri": artifactScheme + "/" + path}, nil
}

func searchVersions(c *call) (any, error) {
	req, err := c.search(filter.ModelVersions, 10000, 200000)
	if err != nil {
		return nil, err
	}
	models, err := c.models(c.ctx)
	if err != nil {
		return nil, err
	}
	type of struct {
		m registered
		v version
	}
	var all []of
	for _, m := range models {
		versions, err := c.versions(m)
		if err != nil {
			return nil, err
		}
		for _, v := range versions {
			if filter.Match(req.conditions, versionValues(m, v)) {
				all = append(all, of{m, v})
			}
		}
	}
	slices.SortFunc(all, func(a, b of) int {
		return cmp.Or(filter.Compare(req.orders, versionValues(a.m, a.v), versionValues(b.m, b.v)), cmp.Compare(a.m.rec.Name, b.m.rec.Name), cmp.Compare(b.v.number, a.v.number))
	})
	some, next := cut(all, req.from, req.limit)
	out := make([]wireVersion, len(some))
	for i, x := range some {
		out[i] = x.v.wire(x.m)
	}
	return listed("model_versions", out, next), nil
}

func versionValues(m registered, v version) filter.Values {
	return filter.Values{
		Number: func(_ store.TrackedField, key string) (float64, bool) {
			n, ok := map[string]int64{"version_number": int64(v.number), "creation_timestamp": v.rec.CreatedAt.UnixMilli(), "last_updated_timestamp": v.rec.UpdatedAt.UnixMilli()}[key]
			return float64(n), ok
		},
		Text: func(field store.TrackedField, key string) (text string, ok bool) {
			if field == store.TrackedTagField {
				text, ok = v.props.Tags[key]
			} else {
				text, ok = map[string]string{"name": m.rec.Name, "run_id": v.props.Properties[propRun], "source_path": v.source()}[key]
			}
			return text, ok
		},
	}
}
