package template

import (
	"fmt"
	"slices"
	"strings"
)

// index finds resources by id, by id without its scope, by type and name, by the name of their copy loop, and by name.
type index map[string][]*Resource

func (d *Deployment) index() index {
	x := index{}
	for _, r := range d.Resources {
		_, path, _ := strings.Cut(r.ID.Key(), "/providers/")
		names := []string{r.ID.Key(), path, r.ID.Type() + "/" + r.fullName(), r.loop, r.fullName()}
		for i, n := range names {
			names[i] = strings.ToLower(n)
		}
		slices.Sort(names)
		for _, n := range slices.Compact(names) {
			x[n] = append(x[n], r)
		}
	}
	return x
}

// fullName is the name with those of the resources around it: a/b.
func (r *Resource) fullName() string {
	if len(r.ID.Segments) == 0 {
		return ""
	}
	return strings.Join(r.ID.Segments[len(r.ID.Segments)-1].Names, "/")
}

// connect turns what a resource wants into Keys of resources of the template that are made.
func (r *Resource) connect(x index) error {
	seen := map[string]bool{}
	for _, want := range r.wants {
		if low := strings.ToLower(want); seen[low] {
			continue
		} else {
			seen[low] = true
		}
		asked, onlyAsked := strings.CutPrefix(want, "?")
		found := x[strings.ToLower(strings.TrimPrefix(asked, "/"))]
		if len(found) == 0 {
			found = x[strings.ToLower(asked)]
		}
		if len(found) == 0 && !onlyAsked {
			return fmt.Errorf("'%s' depends on '%s', which is not in the template", r.ID.Name(), want)
		}
		for _, f := range found {
			if f != r || !onlyAsked {
				r.After = append(r.After, f.ID.Key())
			}
		}
	}
	r.After = slices.DeleteFunc(r.After, func(key string) bool {
		return !slices.ContainsFunc(x[key], func(o *Resource) bool { return !o.Skipped })
	})
	slices.Sort(r.After)
	r.After = slices.Compact(r.After)
	return nil
}

// order puts every resource behind those it waits for, otherwise as they are written, and leaves out those that are not made.
func (d *Deployment) order(x index) error {
	var out []*Resource
	const begun, placed = 1, 2
	state := map[*Resource]int{}
	var place func(r *Resource) error
	place = func(r *Resource) error {
		switch state[r] {
		case placed:
			return nil
		case begun:
			return fmt.Errorf("resources wait for each other in a circle; '%s' is one of them and waits for: %s", r.ID, strings.Join(r.After, ", "))
		}
		state[r] = begun
		for _, key := range r.After {
			for _, o := range x[key] {
				if o.Skipped {
					continue
				}
				if err := place(o); err != nil {
					return err
				}
			}
		}
		state[r] = placed
		out = append(out, r)
		return nil
	}
	for _, r := range d.Resources {
		if r.Skipped {
			continue
		}
		if err := place(r); err != nil {
			return err
		}
	}
	d.Resources = out
	return nil
}
