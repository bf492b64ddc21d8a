package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
)

// errRead says that the store could not be read, which passes.
var errRead = errors.New("resources can't be read now")

// reader answers expressions, with the rights of who deploys.
type reader struct {
	ctx context.Context
	d   *Deployer
	who resource.Principal
}

// Reference is a resource as the wire has it.
func (r reader) Reference(id arm.ID) (map[string]any, error) {
	if why := r.d.whyNot(id); why != "" {
		return nil, errors.New(why)
	}
	if err := r.d.allowed(r.ctx, r.who, id, "read"); err != nil {
		return nil, err
	}
	rec, err := r.d.Engine.Get(r.ctx, r.d.cfg.Store, id)
	if err != nil {
		return nil, passing(err)
	}
	body, err := r.d.Engine.Show(r.ctx, r.d.cfg.Store, rec)
	if err != nil {
		return nil, passing(err)
	}
	return plainMap(body)
}

// List is the answer of an action whose name begins with list.
func (r reader) List(id arm.ID, action string, body any) (any, error) {
	t, err := r.d.Engine.TypeOf(id)
	if err != nil {
		return nil, err
	}
	act, ok := t.Actions[strings.ToLower(action)]
	if !ok {
		return nil, arm.Errorf(http.StatusNotFound, "InvalidAction", "The resource type '%s/%s' has no action '%s'.", t.Namespace, t.Name, action)
	}
	verb := action + "/action"
	if act.Permission == "read" {
		verb = "read"
	}
	if err := r.d.allowed(r.ctx, r.who, id, verb); err != nil {
		return nil, err
	}
	rec, err := r.d.Engine.Get(r.ctx, r.d.cfg.Store, id)
	if err != nil {
		return nil, passing(err)
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encoding the body of %s: %w", action, err)
	}
	answer, err := act.Run(r.ctx, &resource.Call{Store: r.d.cfg.Store, ID: id, Record: rec, Principal: r.who, Body: raw, ResponseHeader: http.Header{}})
	if err != nil {
		return nil, passing(err)
	}
	return plainMap(answer)
}

// passing marks errors that are not the caller's.
func passing(err error) error {
	if _, ok := errors.AsType[*arm.Error](err); ok {
		return err
	}
	return fmt.Errorf("%w: %w", errRead, err)
}

// plainMap makes an answer what it is on the wire.
func plainMap(v any) (map[string]any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding an answer: %w", err)
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("decoding an answer: %w", err)
	}
	return out, nil
}
