package template

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
)

// deploymentFunctions are those that know of the deployment and its resources.
var deploymentFunctions = map[string]function{
	"parameters": {least: 1, most: 1, free: true, run: func(e env, a []any) (any, error) {
		name, err := arg[string](a, 0)
		if err != nil {
			return nil, err
		}
		if err := e.spend(within * len(e.d.parameters)); err != nil {
			return nil, err
		}
		for k, p := range e.d.parameters {
			if strings.EqualFold(k, name) {
				return p.value, nil
			}
		}
		return nil, unknown("parameter", name, slices.Collect(maps.Keys(e.d.parameters)))
	}},
	"variables": {least: 1, most: 1, free: true, run: func(e env, a []any) (any, error) {
		name, err := arg[string](a, 0)
		if err != nil {
			return nil, err
		}
		if e.inParameter {
			return nil, errors.New("defaults of parameters must not use variables")
		}
		if err := e.spend(within * len(e.d.variables)); err != nil {
			return nil, err
		}
		return e.d.variable(name)
	}},
	"copyindex":     {most: 2, run: copyIndexOf},
	"subscription":  {free: true, run: func(e env, _ []any) (any, error) { return e.d.scope.Subscription, nil }},
	"resourcegroup": {free: true, run: func(e env, _ []any) (any, error) { return e.d.scope.Group, nil }},
	"environment":   {free: true, run: func(e env, _ []any) (any, error) { return e.d.scope.Environment, nil }},
	"tenant": {run: func(e env, _ []any) (any, error) {
		return map[string]any{"tenantId": e.d.scope.Subscription["tenantId"]}, nil
	}},
	"deployment": {run: func(e env, _ []any) (any, error) {
		return map[string]any{"name": e.d.scope.ID.Name(), "id": e.d.scope.ID.String()}, nil
	}},
	"resourceid":             {least: 2, most: -1, run: resourceID},
	"subscriptionresourceid": {least: 2, most: -1, run: subscriptionResourceID},
	"extensionresourceid":    {least: 3, most: -1, run: extensionResourceID},
	"reference":              {least: 1, most: 3, run: reference},
	"newguid": {run: func(e env, _ []any) (any, error) {
		if !e.inParameter {
			return nil, errors.New("it may be used in defaults of parameters only")
		}
		return e.d.scope.NewGUID(), nil
	}},
	"utcnow": {most: 1, run: func(e env, a []any) (any, error) {
		if !e.inParameter {
			return nil, errors.New("it may be used in defaults of parameters only")
		}
		layout := "20060102T150405Z"
		if len(a) == 1 {
			f, err := arg[string](a, 0)
			if err != nil {
				return nil, err
			}
			layout = strings.NewReplacer("yyyy", "2006", "yy", "06", "MM", "01", "dd", "02", "HH", "15", "mm", "04", "ss", "05").Replace(f)
			if f == "u" {
				layout = time.DateTime + "Z"
			}
		}
		return e.d.scope.Now.UTC().Format(layout), nil
	}},
}

// copyIndexOf takes the name of a loop, an offset, or both.
func copyIndexOf(e env, a []any) (any, error) {
	name, offset := "", int64(0)
	for i, v := range a {
		switch v := v.(type) {
		case string:
			name = v
		case int64:
			offset = v
		default:
			return nil, fmt.Errorf("argument %d must be a string or an int, not %s", i+1, kindOf(v))
		}
	}
	for _, c := range slices.Backward(e.copies) {
		if name == "" || strings.EqualFold(c.name, name) {
			return c.index + offset, nil
		}
	}
	return nil, fmt.Errorf("it is used outside of a copy loop '%s'", name)
}

// resourceID takes ([subscription,] [group,] type, names…): the type is the first with a slash that its names follow.
func resourceID(e env, a []any) (any, error) {
	s, err := strs(a)
	if err != nil {
		return nil, err
	}
	scope := arm.ID{Subscription: e.d.scope.ID.Subscription, ResourceGroup: e.d.scope.ID.ResourceGroup}
	i := slices.IndexFunc(s, func(p string) bool { return strings.Contains(p, "/") })
	switch i {
	case 0:
	case 1:
		scope.ResourceGroup = s[0]
	case 2:
		scope.Subscription, scope.ResourceGroup = s[0], s[1]
	default:
		return nil, fmt.Errorf("no argument is a type, such as Microsoft.MachineLearningServices/workspaces: %s", strings.Join(s, ", "))
	}
	path, err := joinPath(s[i:])
	return scope.String() + "/providers/" + path, err
}

// joinPath is lenient with empty names: ids of what is not made are made of them.
func joinPath(s []string) (string, error) {
	types, names := strings.Split(s[0], "/"), s[1:]
	if len(names) != len(types)-1 {
		return "", fmt.Errorf("the type '%s' needs %d names, but there are %d", s[0], len(types)-1, len(names))
	}
	out := types[0]
	for i, n := range names {
		out += "/" + types[i+1] + "/" + n
	}
	return out, nil
}

func subscriptionResourceID(e env, a []any) (any, error) {
	s, err := strs(a)
	if err != nil {
		return nil, err
	}
	subscription := e.d.scope.ID.Subscription
	if !strings.Contains(s[0], "/") {
		subscription, s = s[0], s[1:]
	}
	path, err := joinPath(s)
	return "/subscriptions/" + subscription + "/providers/" + path, err
}

func extensionResourceID(_ env, a []any) (any, error) {
	s, err := strs(a)
	if err != nil {
		return nil, err
	}
	path, err := joinPath(s[1:])
	return strings.TrimSuffix(s[0], "/") + "/providers/" + path, err
}

// target is the resource that reference and list functions mean: by id, or by the name of one in the template.
func (e env) target(s string) (arm.ID, error) {
	if strings.HasPrefix(s, "/") {
		return arm.ParseID(s)
	}
	for _, r := range e.d.Resources {
		if strings.EqualFold(r.fullName(), s) || strings.EqualFold(r.ID.Type()+"/"+r.fullName(), s) {
			return r.ID, nil
		}
	}
	return arm.ID{}, fmt.Errorf("'%s' is neither the id of a resource nor the name of one before it in the template", s)
}

// reference gives the properties of a resource, or with 'Full' all of it.
func reference(e env, a []any) (any, error) {
	s, err := strs(a)
	if err != nil {
		return nil, err
	}
	if e.runtime == nil {
		return nil, errLater
	}
	id, err := e.target(s[0])
	if err != nil {
		return nil, err
	}
	m, err := e.runtime.Reference(id)
	if err != nil {
		return nil, err
	}
	if len(s) == 3 && strings.EqualFold(s[2], "Full") {
		return whole(m), nil
	}
	return whole(m["properties"]), nil
}

// list is listKeys and the like: (id, api-version, body).
func (e env) list(action string, a []any) (any, error) {
	s, err := strs(a[:2])
	if err != nil {
		return nil, err
	}
	if e.runtime == nil {
		return nil, errLater
	}
	id, err := e.target(s[0])
	if err != nil {
		return nil, err
	}
	var body any
	if len(a) == 3 {
		body = a[2]
	}
	v, err := e.runtime.List(id, action, body)
	return whole(v), err
}
