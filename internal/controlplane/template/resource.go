package template

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fairlead.dev/fairlead/api/arm"
)

// TypeDeployment is the type of a deployment in a deployment.
const TypeDeployment = "Microsoft.Resources/deployments"

// Resource is one that a template makes.
type Resource struct {
	ID arm.ID
	// Skipped: its condition is false.
	Skipped bool
	// After are the Keys of the resources that must be there first.
	After []string
	where string // in the template
	raw   map[string]any
	env   env
	loop  string
	wants []string // dependsOn, evaluated
}

// apart are members of a resource that are not part of what is PUT.
var apart = []string{"type", "apiversion", "name", "dependson", "condition", "copy", "comments", "resources", "scope", "subscriptionid", "resourcegroup", "metadata"}

// loadResources expands copies and nested resources and brings all in order.
func (d *Deployment) loadResources(list []any) error {
	e := env{d: d}
	for i, raw := range list {
		if err := e.loadResource(fmt.Sprintf("resources[%d]", i), raw, nil); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for _, r := range d.Resources {
		if r.Skipped {
			continue
		}
		if err := r.check(); err != nil {
			return err
		}
		if seen[r.ID.Key()] {
			return fmt.Errorf("the template makes '%s' twice", r.ID)
		}
		seen[r.ID.Key()] = true
	}
	x := d.index()
	for _, r := range d.Resources {
		if err := r.connect(x); err != nil {
			return err
		}
	}
	return d.order(x)
}

// loadResource adds one resource of the template, or those of its copy loop, with what is nested in them.
func (e env) loadResource(where string, raw any, parent *Resource) error {
	m, ok := raw.(map[string]any)
	if !ok {
		return fmt.Errorf("%s must be an object, not %s", where, kindOf(raw))
	}
	loop, ok := m["copy"].(map[string]any)
	if !ok {
		_, err := e.add(where, m, parent)
		return err
	}
	name, _ := loop["name"].(string)
	n, err := e.count(where+".copy", loop["count"])
	if err != nil {
		return err
	}
	mode, _ := loop["mode"].(string)
	batch, ok := loop["batchSize"].(int64)
	if !ok || batch < 1 {
		batch = 1
	}
	var made []*Resource
	for i := range n {
		r, err := e.inCopy(name, i).add(fmt.Sprintf("%s(copy %d)", where, i), m, parent)
		if err != nil {
			return err
		}
		r.loop = name
		if strings.EqualFold(mode, "serial") && i >= batch {
			r.After = append(r.After, made[i-batch].ID.Key())
		}
		made = append(made, r)
	}
	return nil
}

// add evaluates what says where a resource is and when it is made.
func (e env) add(where string, m map[string]any, parent *Resource) (*Resource, error) {
	if len(e.d.Resources) >= maxCopies {
		return nil, fmt.Errorf("the template has more than %d resources", maxCopies)
	}
	r := &Resource{where: where, raw: m, env: e}
	if when, ok := m["condition"]; ok {
		yes, err := e.condition(where, when)
		if err != nil {
			return nil, err
		}
		r.Skipped = !yes
	}
	e.d.Resources = append(e.d.Resources, r)
	var err error
	if r.ID, err = e.id(where, m, parent); err != nil && !r.Skipped {
		return nil, err
	}
	if r.Skipped {
		return r, e.children(where, m, r)
	}
	list, _ := m["dependsOn"].([]any)
	for i, raw := range list {
		at := fmt.Sprintf("%s.dependsOn[%d]", where, i)
		v, err := e.value(at, raw)
		if err != nil {
			return nil, e.d.static(err, at)
		}
		s, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("%s must be a string, not %s", at, kindOf(v))
		}
		r.wants = append(r.wants, s)
	}
	if parent != nil {
		r.After = append(r.After, parent.ID.Key())
	}
	return r, e.children(where, m, r)
}

func (e env) children(where string, m map[string]any, r *Resource) error {
	list, ok := m["resources"].([]any)
	if !ok {
		return nil
	}
	for i, raw := range list {
		if child, ok := raw.(map[string]any); ok && r.Skipped { // an unmade resource has nothing in it
			child = maps.Clone(child)
			child["condition"], raw = false, child
		}
		if err := e.loadResource(fmt.Sprintf("%s.resources[%d]", where, i), raw, r); err != nil {
			return err
		}
	}
	return nil
}

// string evaluates a member that must be a text; "" when it is absent or null.
func (e env) string(where string, m map[string]any, member string) (string, error) {
	v, err := e.value(where+"."+member, m[member])
	if err != nil {
		return "", e.d.static(err, where+"."+member)
	}
	s, ok := v.(string)
	if !ok && v != nil {
		return "", fmt.Errorf("%s.%s must be a string, not %s", where, member, kindOf(v))
	}
	return s, nil
}

// id is where a resource is made.
func (e env) id(where string, m map[string]any, parent *Resource) (arm.ID, error) {
	got := map[string]string{}
	for _, member := range []string{"type", "name", "scope", "subscriptionId", "resourceGroup"} {
		s, err := e.string(where, m, member)
		if err != nil {
			return arm.ID{}, err
		}
		got[member] = s
	}
	typ, name := got["type"], got["name"]
	if typ == "" || name == "" {
		return arm.ID{}, fmt.Errorf("%s needs a type and a name", where)
	}
	if parent != nil && !strings.Contains(typ, "/") {
		return parseID(where, parent.ID.String()+"/"+typ+"/"+name)
	}
	base := arm.ID{Subscription: or(got["subscriptionId"], e.d.scope.ID.Subscription), ResourceGroup: or(got["resourceGroup"], e.d.scope.ID.ResourceGroup)}.String()
	if scope := got["scope"]; scope != "" {
		base = scope
		if !strings.HasPrefix(strings.ToLower(scope), "/subscriptions/") {
			return arm.ID{}, fmt.Errorf("%s.scope is '%s'; it must be the id of a resource", where, scope)
		}
	}
	path, err := typePath(typ, strings.Split(name, "/"))
	if err != nil {
		return arm.ID{}, fmt.Errorf("%s: %w", where, err)
	}
	return parseID(where, base+"/providers/"+path)
}

func or(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

func parseID(where, s string) (arm.ID, error) {
	id, err := arm.ParseID(s)
	if err != nil {
		return id, fmt.Errorf("%s: %w", where, err)
	}
	return id, nil
}

// typePath joins a full type with its names: NS/a/b with x, y is NS/a/x/b/y.
func typePath(typ string, names []string) (string, error) {
	parts := strings.Split(typ, "/")
	if len(parts) != len(names)+1 {
		return "", fmt.Errorf("the type '%s' needs %d names, but there are %d: '%s'", typ, len(parts)-1, len(names), strings.Join(names, "/"))
	}
	out := parts[0]
	for i, n := range names {
		if n == "" {
			return "", fmt.Errorf("a name for the type '%s' is empty", typ)
		}
		out += "/" + parts[i+1] + "/" + n
	}
	return out, nil
}

// check evaluates the body as far as it can be without a Runtime, and waits for whatever the body asks of in the template.
func (r *Resource) check() error {
	asked := &recorder{}
	e := r.env
	e.runtime = asked
	for _, member := range slices.Sorted(maps.Keys(r.raw)) {
		if _, err := r.member(e, r.where, member); err != nil && !errors.Is(err, errLater) {
			return err
		}
	}
	r.wants = append(r.wants, asked.ids...)
	return nil
}

// recorder is the Runtime before there is one: it notes what it is asked.
type recorder struct{ ids []string }

func (a *recorder) Reference(id arm.ID) (map[string]any, error) {
	a.ids = append(a.ids, "?"+id.Key())
	return nil, errLater
}

func (a *recorder) List(id arm.ID, _ string, _ any) (any, error) {
	a.ids = append(a.ids, "?"+id.Key())
	return nil, errLater
}

// member evaluates one member of the body. What is in a nested deployment is evaluated there when it has a scope of its own;
// otherwise here, and its texts are then plain ones.
func (r *Resource) member(e env, where, name string) (any, error) {
	if slices.Contains(apart, strings.ToLower(name)) {
		return nil, nil
	}
	where += "." + name
	props, ok := r.raw[name].(map[string]any)
	if !ok || name != "properties" || !strings.EqualFold(r.ID.Type(), TypeDeployment) {
		return e.value(where, r.raw[name])
	}
	out := map[string]any{}
	options, _ := props["expressionEvaluationOptions"].(map[string]any)
	scope, _ := options["scope"].(string)
	for k, v := range props {
		if k == "template" && strings.EqualFold(scope, "inner") {
			out[k] = v
			continue
		}
		got, err := e.value(where+"."+k, v)
		if err != nil {
			return nil, err
		}
		if k == "template" {
			got = plain(got)
		}
		out[k] = got
	}
	return out, nil
}

// plain is a copy in which texts that look like expressions are not taken for some.
func plain(v any) any {
	switch v := v.(type) {
	case string:
		if strings.HasPrefix(v, "[") {
			return "[" + v
		}
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = plain(v[k])
		}
		return out
	}
	return v
}

// Body is what is PUT to make the resource.
func (d *Deployment) Body(r *Resource, rt Runtime) (map[string]any, error) {
	e := r.env
	e.runtime = rt
	out := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(r.raw)) {
		v, err := r.member(e, "'"+r.ID.Name()+"'", name)
		if err != nil {
			return nil, err
		}
		if v != nil {
			out[name] = v
		}
	}
	return out, e.charge(out)
}
