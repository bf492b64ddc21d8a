package cli

import (
	"context"
	"maps"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/cli/output"
)

// kind is a type of resource as its show, list and delete commands see it.
type kind struct {
	api     string
	columns []output.Column
	shape   func(map[string]any) map[string]any
	// one names a resource, many a collection of them.
	one, many scope
	// show and list are the words of these commands.
	show, list help
}

type help struct{ short, example string }

// scope defines the flags of a command that name what it is about, and returns a function that reads them.
type scope func(a *app, c *cobra.Command) func() (place, error)

// place is what a command line names.
type place struct {
	*session
	path         string
	name, parent string // as questions say them
	max          int    // of a list; 0 is all
}

// removal is a command that deletes a resource of a kind.
type removal struct {
	verb string // "delete" when empty
	help
	// question has {name} and {parent} filled in; an empty one is not asked.
	question string
	query    url.Values
	force    string // what --force does; without it there is none
	atOnce   bool   // the answer is the end: there is nothing to wait for
}

// about completes a command that does run with what its flags name.
func (a *app) about(sc scope, c *cobra.Command, run func(ctx context.Context, p place) error) *cobra.Command {
	find := sc(a, c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := find()
		if err != nil {
			return err
		}
		return run(cmd.Context(), p)
	}
	return a.leaf(c)
}

func (a *app) shower(k kind) *cobra.Command {
	c := &cobra.Command{Use: "show", Short: k.show.short, Example: k.show.example}
	return a.about(k.one, c, func(ctx context.Context, p place) error {
		got, err := p.get(ctx, p.path, k.api)
		if err != nil {
			return err
		}
		return a.print(k.shape(got), k.columns...)
	})
}

func (a *app) lister(k kind) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: k.list.short, Example: k.list.example}
	return a.about(k.many, c, func(ctx context.Context, p place) error {
		return a.listAt(ctx, p, url.Values{}, k)
	})
}

// listAt prints the resources of a collection.
func (a *app) listAt(ctx context.Context, p place, q url.Values, k kind) error {
	q.Set("api-version", k.api)
	items, err := p.List(ctx, p.path, q, p.max)
	if err != nil {
		return err
	}
	for i := range items {
		items[i] = k.shape(items[i])
	}
	return a.print(items, k.columns...)
}

func (a *app) deleter(k kind, r removal) *cobra.Command {
	var yes, noWait, force bool
	c := &cobra.Command{Use: "delete", Short: r.short, Example: r.example}
	if r.verb != "" {
		c.Use = r.verb
	}
	addYes(c, &yes)
	if !r.atOnce {
		addNoWait(c, &noWait)
	}
	if r.force != "" {
		c.Flags().BoolVar(&force, "force", false, r.force)
	}
	return a.about(k.one, c, func(ctx context.Context, p place) error {
		if r.question != "" {
			if err := a.confirm(yes, strings.NewReplacer("{name}", p.name, "{parent}", p.parent).Replace(r.question)); err != nil {
				return err
			}
		}
		q := url.Values{}
		maps.Copy(q, r.query)
		if force {
			q.Set("forceDelete", "true")
		}
		return p.remove(ctx, p.path, k.api, q, noWait)
	})
}

// asIs is the shape of what is shown as the API has it.
func asIs(r map[string]any) map[string]any { return r }

// childOf names a resource of a workspace's collection.
func childOf(typ, what string) scope {
	return func(a *app, c *cobra.Command) func() (place, error) {
		var t target
		var name string
		a.addChild(c, &t, &name, typ, what)
		return func() (place, error) {
			s, ws, err := a.workspace(&t, need{"--name/-n", name})
			if err != nil {
				return place{}, err
			}
			path, err := child(ws, typ, name)
			return place{session: s, path: path, name: name, parent: t.workspace}, err
		}
	}
}

// addChild defines the flags that name a resource of a workspace's collection.
func (a *app) addChild(c *cobra.Command, t *target, name *string, typ, what string) {
	a.addWorkspace(c, t)
	a.addName(c, name, what, t, inWorkspace(typ), apiML)
}

// childrenOf names a workspace's collection.
func childrenOf(typ string) scope {
	return func(a *app, c *cobra.Command) func() (place, error) {
		var t target
		var max int
		a.addWorkspace(c, &t)
		c.Flags().IntVarP(&max, "max-results", "r", 0, "at most this `number`")
		return func() (place, error) {
			s, ws, err := a.workspace(&t)
			return place{session: s, path: ws.String() + "/" + typ, max: max}, err
		}
	}
}

// inGroups names a collection of the group, or of the subscription when no group is given.
func inGroups(collection string) scope {
	return func(a *app, c *cobra.Command) func() (place, error) {
		var t target
		a.addGroup(c, &t)
		return func() (place, error) {
			s, err := a.connect()
			if err != nil {
				return place{}, err
			}
			id, err := s.groupID(t)
			return place{session: s, path: id.String() + collection}, err
		}
	}
}
