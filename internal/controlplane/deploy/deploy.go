// Package deploy is template deployments: a resource that makes other resources, each by the same PUT and with the same rights as if
// its caller had sent it.
//
//	PUT deployment ──Admit──▶ template is read, rights are checked: nothing is made yet, or the request is refused
//	                             │
//	controller ──▶ step by step: PUT what nothing is waited for, follow its operation, go on
//	                             │
//	           Succeeded, with outputs │ Failed, with every step's error; what was made stays
package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/template"
)

// Type is the full type of deployments, in lower case.
const Type = "microsoft.resources/deployments"

// StateRunning is the provisioningState while resources are made.
const StateRunning = "Running"

// Config is what deployments need. All fields but NewID are required.
type Config struct {
	Store store.Store
	Clock func() time.Time
	// Seal encrypts templates and parameters, which may hold secrets; Open decrypts them.
	Seal, Open func([]byte) ([]byte, error)
	// Authorize is the role check.
	Authorize func(ctx context.Context, p resource.Principal, action, scopeKey string) error
	PublicURL string
	// StorageSuffix and TenantID are told to expressions.
	StorageSuffix, TenantID string
	// NewID makes a random GUID; nil is uuid.NewString.
	NewID func() string
}

// Deployer is the type of deployments and its controller.
type Deployer struct {
	cfg Config
	// Engine makes the resources. It is set once the registry holds Type, before anything is served.
	Engine *engine.Engine
}

// New makes a Deployer, which has no Engine yet.
func New(cfg Config) *Deployer {
	if cfg.NewID == nil {
		cfg.NewID = uuid.NewString
	}
	return &Deployer{cfg: cfg}
}

// whyNot is the sentence for a resource that is passed over, as there are none of its type; "" for others.
func (d *Deployer) whyNot(id arm.ID) string {
	t, ok := d.Engine.Registry.Lookup(id.Type())
	if !ok || t.Absent == "" {
		return ""
	}
	return fmt.Sprintf("%s/%s '%s' was not made: there are none here, and none are needed; %s.", t.Namespace, t.Name, id.Name(), t.Absent)
}

// request is the properties object of a PUT.
type request struct {
	Mode              string          `json:"mode"`
	Template          json.RawMessage `json:"template"`
	TemplateLink      json.RawMessage `json:"templateLink"`
	Parameters        json.RawMessage `json:"parameters"`
	ParametersLink    json.RawMessage `json:"parametersLink"`
	OnErrorDeployment json.RawMessage `json:"onErrorDeployment"`
}

// sealed is what a record keeps encrypted.
type sealed struct {
	Template   json.RawMessage `json:"template"`
	Parameters any             `json:"parameters,omitempty"`
}

func given(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// readRequest checks the parts of a request that are not the template's.
func readRequest(body json.RawMessage) (request, error) {
	var b struct {
		Properties *request `json:"properties"`
	}
	if err := json.Unmarshal(body, &b); err != nil {
		return request{}, arm.Invalid("properties", "properties can't be read as those of a deployment: %s.", err)
	}
	if b.Properties == nil {
		return request{}, arm.Invalid("properties", "properties is missing; it holds mode, template and parameters.")
	}
	r := *b.Properties
	switch {
	case r.Mode != "" && !strings.EqualFold(r.Mode, "Incremental"):
		return r, arm.Invalid("properties.mode", "properties.mode is '%s'; only Incremental is supported: nothing is deleted because a template does not have it.", r.Mode)
	case given(r.TemplateLink):
		return r, arm.Invalid("properties.templateLink", "properties.templateLink: templates are not fetched from elsewhere; send it as properties.template.")
	case given(r.ParametersLink):
		return r, arm.Invalid("properties.parametersLink", "properties.parametersLink: parameters are not fetched from elsewhere; send them as properties.parameters.")
	case given(r.OnErrorDeployment):
		return r, arm.Invalid("properties.onErrorDeployment", "properties.onErrorDeployment is not supported; deploy again by a request of your own.")
	case !given(r.Template):
		return r, arm.Invalid("properties.template", "properties.template is missing.")
	}
	return r, nil
}

// load reads the template in the light of its group and subscription.
func (d *Deployer) load(ctx context.Context, r store.Reader, id arm.ID, tmpl, parameters json.RawMessage) (*template.Deployment, error) {
	group, subscription := arm.ID{Subscription: id.Subscription, ResourceGroup: id.ResourceGroup}, arm.ID{Subscription: id.Subscription}
	s := template.Scope{
		ID: id, Now: d.cfg.Clock(), NewGUID: d.cfg.NewID,
		Subscription: map[string]any{"id": subscription.String(), "subscriptionId": id.Subscription, "tenantId": d.cfg.TenantID, "displayName": id.Subscription},
		Environment: map[string]any{"name": "Fairlead", "resourceManager": d.cfg.PublicURL + "/", "portal": d.cfg.PublicURL,
			"authentication": map[string]any{"loginEndpoint": d.cfg.PublicURL + "/", "audiences": []any{d.cfg.PublicURL}, "tenant": d.cfg.TenantID, "identityProvider": "AAD"},
			"suffixes":       map[string]any{"storage": d.cfg.StorageSuffix}},
	}
	rec, err := d.Engine.Get(ctx, r, group)
	if err != nil {
		return nil, err
	}
	shown, err := d.Engine.Show(ctx, r, rec)
	if err != nil {
		return nil, err
	}
	s.Group = map[string]any{}
	for _, k := range []string{"id", "name", "type", "location", "tags", "properties"} {
		s.Group[k] = shown[k]
	}
	if s.Group["tags"] == nil {
		s.Group["tags"] = map[string]any{}
	}
	dep, err := template.Load(s, tmpl, parameters)
	if err != nil {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidTemplate", "Deployment template validation failed: '%s'.", err)
	}
	return dep, nil
}

// preflight checks that every resource can be made here, and that the caller may.
func (d *Deployer) preflight(ctx context.Context, p resource.Principal, dep *template.Deployment) error {
	for _, r := range dep.Resources {
		if d.whyNot(r.ID) != "" {
			continue
		}
		t, err := d.Engine.TypeOf(r.ID)
		if err != nil {
			if ae, ok := errors.AsType[*arm.Error](err); ok {
				return &arm.Error{Status: http.StatusBadRequest, Code: "InvalidTemplate", Target: r.ID.String(), Message: "Deployment template validation failed: '" + ae.Message + "'."}
			}
			return err
		}
		if err := d.cfg.Authorize(ctx, p, t.Namespace+"/"+t.Name+"/write", r.ID.Key()); err != nil {
			return err
		}
	}
	return nil
}
