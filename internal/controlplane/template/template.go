package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
)

// Scope is where a deployment happens, and what expressions may know of it.
type Scope struct {
	// ID is the deployment's own, in a resource group.
	ID arm.ID
	// Subscription, Group and Environment are what subscription(), resourceGroup() and environment() give.
	Subscription, Group, Environment map[string]any
	Now                              time.Time
	NewGUID                          func() string
}

// Runtime answers what only others know. Errors of it reach the caller of Body and Outputs, wrapped.
type Runtime interface {
	// Reference is a resource as the wire has it.
	Reference(id arm.ID) (map[string]any, error)
	// List is the answer of an action such as listKeys.
	List(id arm.ID, action string, body any) (any, error)
}

// Deployment is a template with its parameters.
type Deployment struct {
	scope      Scope
	parameters map[string]parameter
	variables  map[string]any // as written
	known      map[string]any // variables that are evaluated
	busy       []string       // variables that are being evaluated
	outputs    map[string]any
	left       int // of the budget
	effort     int // what is left of that
	// Resources are those to be made, each behind what it waits for.
	Resources []*Resource
}

type parameter struct {
	kind   string
	value  any
	secure bool
}

// document is a template on the wire.
type document struct {
	Schema         string         `json:"$schema"`
	ContentVersion string         `json:"contentVersion"`
	Language       string         `json:"languageVersion"`
	Parameters     map[string]any `json:"parameters"`
	Variables      map[string]any `json:"variables"`
	Functions      []any          `json:"functions"`
	Resources      any            `json:"resources"`
	Outputs        map[string]any `json:"outputs"`
}

// Load reads a template and its parameters ({"name":{"value":…}}) and evaluates all that asks no Runtime.
func Load(s Scope, template, parameters json.RawMessage) (*Deployment, error) {
	doc, given, err := read(template, parameters)
	if err != nil {
		return nil, err
	}
	d := &Deployment{scope: s, variables: doc.Variables, known: map[string]any{}, outputs: doc.Outputs, parameters: map[string]parameter{}, left: budget, effort: effort}
	if err := d.loadParameters(doc.Parameters, given); err != nil {
		return nil, err
	}
	if err := d.checkVariables(); err != nil {
		return nil, err
	}
	list, ok := doc.Resources.([]any)
	if !ok && doc.Resources != nil {
		return nil, errors.New("template.resources must be an array; symbolic names of resources (languageVersion 2.0) are not supported")
	}
	if err := d.loadResources(list); err != nil {
		return nil, err
	}
	if _, err := d.evaluateOutputs(nil); err != nil && !errors.Is(err, errLater) {
		return nil, err
	}
	return d, nil
}

func read(template, parameters json.RawMessage) (doc document, given map[string]any, err error) {
	v, err := decode(template)
	if err != nil {
		return doc, nil, fmt.Errorf("template: %w", err)
	}
	if _, ok := v.(map[string]any); !ok {
		return doc, nil, fmt.Errorf("template must be an object, not %s", kindOf(v))
	}
	if err := json.Unmarshal(template, &doc); err != nil {
		return doc, nil, fmt.Errorf("template: %w", err)
	}
	for k, member := range v.(map[string]any) { // again, with whole numbers
		m, _ := member.(map[string]any)
		switch strings.ToLower(k) {
		case "parameters":
			doc.Parameters = m
		case "variables":
			doc.Variables = m
		case "outputs":
			doc.Outputs = m
		case "resources":
			doc.Resources = member
		}
	}
	switch {
	case doc.Schema == "":
		return doc, nil, errors.New("template has no $schema; that of a resource group is https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#")
	case !strings.Contains(strings.ToLower(doc.Schema), "/deploymenttemplate.json"):
		return doc, nil, fmt.Errorf("template.$schema is '%s'; only templates of a resource group (…/deploymentTemplate.json#) are deployed here", doc.Schema)
	case len(doc.Functions) > 0:
		return doc, nil, errors.New("template.functions: functions of one's own are not supported; write their expressions where they are used")
	}
	if len(parameters) == 0 || string(parameters) == "null" {
		return doc, map[string]any{}, nil
	}
	p, err := decode(parameters)
	if err != nil {
		return doc, nil, fmt.Errorf("parameters: %w", err)
	}
	given, ok := p.(map[string]any)
	if !ok {
		return doc, nil, fmt.Errorf("parameters must be an object, not %s", kindOf(p))
	}
	return doc, given, nil
}

// checkVariables evaluates all of them: a mistake in one that nobody uses is one, too.
func (d *Deployment) checkVariables() error {
	if loops, ok := d.variables["copy"].([]any); ok {
		d.variables = maps.Clone(d.variables)
		delete(d.variables, "copy")
		if err := (env{d: d}).copyInto(d.known, "variables", loops); err != nil {
			return d.static(err, "variables.copy")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.variables)) {
		if _, err := d.variable(name); err != nil {
			return d.static(err, "variables."+name)
		}
	}
	return nil
}

// static is the error of what must not ask a Runtime.
func (d *Deployment) static(err error, where string) error {
	if errors.Is(err, errLater) {
		return fmt.Errorf("%s must not use reference or list functions: they are known only once other resources are there", where)
	}
	return err
}

// variable evaluates a variable once.
func (d *Deployment) variable(name string) (any, error) {
	if v, ok := find(d.known, name); ok {
		return v, nil
	}
	raw, ok := find(d.variables, name)
	if !ok {
		return nil, unknown("variable", name, slices.Collect(maps.Keys(d.variables)))
	}
	low := strings.ToLower(name)
	if slices.Contains(d.busy, low) {
		return nil, fmt.Errorf("variable '%s' is defined by itself", name)
	}
	if len(d.busy) > maxDepth {
		return nil, fmt.Errorf("variables use each other more than %d deep", maxDepth)
	}
	d.busy = append(d.busy, low)
	defer func() { d.busy = d.busy[:len(d.busy)-1] }()
	e := env{d: d}
	v, err := e.value("variables."+name, raw)
	if err != nil {
		return nil, err
	}
	d.known[name] = v
	return v, e.charge(v)
}

// Outputs evaluates the outputs, as the wire has them: {"name":{"type","value"}}. Those of secure types have no value.
func (d *Deployment) Outputs(r Runtime) (map[string]any, error) { return d.evaluateOutputs(r) }

func (d *Deployment) evaluateOutputs(r Runtime) (map[string]any, error) {
	out := map[string]any{}
	var later error
	for _, name := range slices.Sorted(maps.Keys(d.outputs)) {
		where := "outputs." + name
		o, ok := d.outputs[name].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s must be an object with type and value", where)
		}
		kind, _ := o["type"].(string)
		e := env{d: d, runtime: r}
		if when, ok := o["condition"]; ok {
			yes, err := e.condition(where, when)
			if err != nil {
				return nil, err
			}
			if !yes {
				continue
			}
		}
		v, err := e.value(where+".value", o["value"])
		switch {
		case r == nil && errors.Is(err, errLater):
			later = err
			continue
		case err != nil:
			return nil, err
		}
		if err := checkKind(where, kind, v); err != nil {
			return nil, err
		}
		if err := e.charge(v); err != nil {
			return nil, err
		}
		shown := map[string]any{"type": shownKind(kind)}
		if !isSecure(kind) {
			shown["value"] = v
		}
		out[name] = shown
	}
	return out, later
}

func (e env) condition(where string, v any) (bool, error) {
	v, err := e.value(where+".condition", v)
	if err != nil {
		return false, e.d.static(err, where+".condition")
	}
	switch v := v.(type) {
	case bool:
		return v, nil
	case string:
		if strings.EqualFold(v, "true") || strings.EqualFold(v, "false") {
			return strings.EqualFold(v, "true"), nil
		}
	}
	return false, fmt.Errorf("%s.condition is %s; it must be true or false", where, text(v))
}
