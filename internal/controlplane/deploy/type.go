package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/operation"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/template"
)

// keep is how many deployments a group remembers; the oldest that has ended makes way for a new one.
const keep = 800

// Type is the registry entry.
func (d *Deployer) Type() *resource.Type {
	return &resource.Type{
		Namespace: "Microsoft.Resources", Name: "deployments", Async: true, NewestFirst: true,
		APIVersions: []string{"2024-07-01", "2024-03-01", "2022-09-01", "2021-04-01", "2020-10-01", "2020-06-01"},
		NameRule:    regexp.MustCompile(`^[A-Za-z0-9_.()-]{1,64}$`),
		NameHelp:    "1 to 64 letters, digits and _ - . ( )",
		JSONC:       true,
		Admit:       d.admit,
		Remove:      remove,
		Patch: func(_, _ json.RawMessage) (json.RawMessage, error) {
			return nil, arm.Errorf(http.StatusMethodNotAllowed, "MethodNotAllowed", "A deployment can't be changed; PUT it again.")
		},
		Views: map[string]resource.View{"operations": operations},
		Actions: map[string]resource.Action{
			"validate":       {Permission: "write", WithoutRecord: true, Run: d.validate},
			"cancel":         {Permission: "write", Run: d.cancel},
			"exporttemplate": {Permission: "write", Run: d.export},
		},
	}
}

// admit checks the deployment and writes down its steps; the controller takes them.
func (d *Deployer) admit(ctx context.Context, p *resource.Put) error {
	if p.Old != nil && operation.State(p.Old.Body) == StateRunning {
		return arm.Errorf(http.StatusConflict, "DeploymentActive", "Unable to edit or replace deployment '%s': the previous deployment is still active. Wait for it or cancel it.", p.ID.Name())
	}
	req, dep, err := d.check(ctx, p.Tx, p.ID, p.Principal, p.Raw)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(sealed{Template: req.Template, Parameters: dep.Parameters()})
	if err != nil {
		return fmt.Errorf("encoding template of %s: %w", p.ID, err)
	}
	if p.Record.Secret, err = d.cfg.Seal(raw); err != nil {
		return fmt.Errorf("sealing template of %s: %w", p.ID, err)
	}
	now := d.cfg.Clock().UTC()
	st := state{Principal: p.Principal, Began: now, Steps: []*step{}}
	for _, r := range dep.Resources {
		st.Steps = append(st.Steps, &step{ID: r.ID.String()})
	}
	if p.Record.Internal, err = json.Marshal(st); err != nil {
		return fmt.Errorf("encoding state of %s: %w", p.ID, err)
	}
	tags := p.Body["tags"]
	clear(p.Body)
	if tags != nil {
		p.Body["tags"] = tags
	}
	p.Body["properties"] = d.describe(req, dep, StateRunning)
	if p.Old == nil {
		return d.makeRoom(ctx, p)
	}
	return nil
}

// check is all that is checked before anything is made.
func (d *Deployer) check(ctx context.Context, r store.Reader, id arm.ID, who resource.Principal, body json.RawMessage) (request, *template.Deployment, error) {
	req, err := readRequest(body)
	if err != nil {
		return req, nil, err
	}
	dep, err := d.load(ctx, r, id, req.Template, req.Parameters)
	if err != nil {
		return req, nil, err
	}
	return req, dep, d.preflight(ctx, who, dep)
}

// makeRoom forgets the oldest ended deployment of a group that has many.
func (d *Deployer) makeRoom(ctx context.Context, p *resource.Put) error {
	parent, _ := p.ID.Parent()
	recs, err := p.Tx.List(ctx, store.Query{Type: Type, Parent: parent.Key(), Limit: keep})
	if err != nil || len(recs) < keep {
		return err
	}
	for _, rec := range recs {
		if operation.State(rec.Body) != StateRunning {
			return p.Tx.Delete(ctx, rec.Key)
		}
	}
	return arm.Errorf(http.StatusConflict, "DeploymentQuotaExceeded", "The resource group '%s' has %d deployments that have not ended; at most %d are kept.", p.ID.ResourceGroup, len(recs), keep)
}

// maxTargets bounds how much is told of who waits for whom: loops that wait for each other make very many.
const maxTargets = 10_000

// describe is the properties object of a deployment.
func (d *Deployer) describe(req request, dep *template.Deployment, state string) map[string]any {
	sum := sha256.Sum256(req.Template)
	types, ids := map[string][]any{}, map[string]arm.ID{}
	for _, r := range dep.Resources {
		ids[r.ID.Key()] = r.ID
	}
	providers, dependencies, validated := []any{}, []any{}, []any{}
	targets := 0
	for _, r := range dep.Resources {
		if d.whyNot(r.ID) == "" {
			validated = append(validated, map[string]any{"id": r.ID.String()})
		}
		ns, typ, _ := strings.Cut(r.ID.Type(), "/")
		if types[ns] == nil {
			providers = append(providers, map[string]any{"namespace": ns})
		}
		types[ns] = append(types[ns], map[string]any{"resourceType": typ})
		if len(r.After) == 0 {
			continue
		}
		after := []any{}
		for _, key := range r.After {
			if targets++; targets <= maxTargets {
				after = append(after, target(ids[key]))
			}
		}
		one := target(r.ID)
		one["dependsOn"] = after
		dependencies = append(dependencies, one)
	}
	for _, p := range providers {
		if p, ok := p.(map[string]any); ok {
			ns, _ := p["namespace"].(string)
			p["resourceTypes"] = types[ns]
		}
	}
	return map[string]any{
		"mode": "Incremental", "parameters": dep.Shown(), "templateHash": strconv.FormatUint(binary.BigEndian.Uint64(sum[:8]), 10),
		"provisioningState": state, "timestamp": arm.FormatTime(d.cfg.Clock()), "duration": "PT0S", "correlationId": d.cfg.NewID(),
		"providers": providers, "dependencies": dependencies, "validatedResources": validated,
	}
}

func target(id arm.ID) map[string]any {
	return map[string]any{"id": id.String(), "resourceType": id.Type(), "resourceName": strings.Join(id.Segments[len(id.Segments)-1].Names, "/")}
}

// remove lets the controller forget a deployment that has ended, as clients expect an operation; what it made stays.
func remove(_ context.Context, r *resource.Removal) (bool, error) {
	if operation.State(r.Record.Body) == StateRunning && !r.Force {
		return false, arm.Errorf(http.StatusConflict, "DeploymentActive", "The deployment '%s' is still active. Wait for it or cancel it, then delete it.", r.Record.Name)
	}
	return true, nil
}

// validate answers what a PUT with the same body would begin.
func (d *Deployer) validate(ctx context.Context, a *resource.Call) (any, error) {
	req, dep, err := d.check(ctx, a.Store, a.ID, a.Principal, a.Body)
	if err != nil {
		return nil, err
	}
	return map[string]any{"id": a.ID.String(), "name": a.ID.Name(), "type": template.TypeDeployment,
		"properties": d.describe(req, dep, arm.StateSucceeded)}, nil
}

// cancel begins nothing more; what is under way goes on by itself.
func (d *Deployer) cancel(ctx context.Context, a *resource.Call) (any, error) {
	a.Status = http.StatusNoContent
	return nil, a.Store.Update(ctx, func(tx store.Tx) error {
		rec, err := tx.Get(ctx, a.Record.Key)
		if errors.Is(err, store.ErrNotFound) || err == nil && operation.State(rec.Body) != StateRunning {
			return arm.Errorf(http.StatusConflict, "DeploymentCannotBeCancelled", "The deployment '%s' is not running.", a.Record.Name)
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", a.Record.Key, err)
		}
		st, err := decodeState(rec)
		if err != nil {
			return err
		}
		now := d.cfg.Clock().UTC()
		for _, s := range st.Steps {
			if s.State == StateRunning {
				s.end(arm.StateCanceled, now)
			}
		}
		return d.finish(ctx, tx, rec, st, arm.StateCanceled, nil, arm.Errorf(http.StatusConflict, "DeploymentCanceled", "The deployment '%s' was canceled.", rec.Name))
	})
}

// export gives the template back, without parameters.
func (d *Deployer) export(_ context.Context, a *resource.Call) (any, error) {
	kept, err := d.open(a.Record)
	if err != nil {
		return nil, err
	}
	return map[string]any{"template": kept.Template}, nil
}

func (d *Deployer) open(rec store.Record) (sealed, error) {
	var kept sealed
	raw, err := d.cfg.Open(rec.Secret)
	if err == nil {
		err = json.Unmarshal(raw, &kept)
	}
	if err != nil {
		return kept, fmt.Errorf("opening template of %s: %w", rec.Key, err)
	}
	return kept, nil
}

// operations are the steps that were begun, as clients list them.
func operations(_ context.Context, _ store.Reader, rec store.Record) ([]resource.Viewed, error) {
	st, err := decodeState(rec)
	if err != nil {
		return nil, err
	}
	out := []resource.Viewed{}
	for _, s := range st.Steps {
		if s.State == "" {
			continue
		}
		id := arm.MustParseID(s.ID)
		sum := sha256.Sum256([]byte(id.Key()))
		name := strings.ToUpper(fmt.Sprintf("%x", sum[:8]))
		at, took := s.Ended, s.Ended.Sub(s.Began)
		if s.Ended.IsZero() {
			at, took = s.Began, 0
		}
		props := map[string]any{"provisioningOperation": "Create", "provisioningState": s.State, "timestamp": arm.FormatTime(at), "duration": duration(took),
			"targetResource": target(id), "serviceRequestId": nil}
		if s.Status != 0 {
			props["statusCode"] = strings.ReplaceAll(http.StatusText(s.Status), " ", "")
		}
		switch {
		case s.Note != "":
			props["provisioningOperation"], props["statusMessage"] = "NotSpecified", map[string]any{"status": s.Note}
		case s.Error != nil:
			props["statusMessage"] = map[string]any{"status": s.State, "error": s.Error}
		}
		out = append(out, resource.Viewed{Name: name, Body: map[string]any{"id": rec.ID + "/operations/" + name, "operationId": name, "properties": props}})
	}
	return out, nil
}
