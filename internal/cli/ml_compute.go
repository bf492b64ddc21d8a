package cli

import (
	"context"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/cli/spec"
)

var computeKind = kind{
	api: apiML, shape: computeShape, one: childOf("computes", "compute"), many: childrenOf("computes"),
	columns: cols("Name=name", "Type=type", "Namespace=namespace", "ProvisioningState=provisioning_state", "ResourceId=resource_id"),
	show:    help{"Show a compute target", "  fairlead ml compute show -n k8s -g G -w W"},
	list:    help{"List compute targets", "  fairlead ml compute list -g G -w W -o table"},
}

func (a *app) mlCompute() *cobra.Command {
	detach := func(verb string) *cobra.Command {
		return a.deleter(computeKind, removal{
			verb: verb, question: "Detach compute {name} from workspace {parent}?", query: url.Values{"underlyingResourceAction": {"Detach"}},
			help: help{"Detach a compute target; the cluster stays as it is", "  fairlead ml compute " + verb + " -n k8s -g G -w W --yes"},
		})
	}
	return noun("compute", "Attach clusters to a workspace as compute targets",
		a.mlComputeAttach(), a.shower(computeKind), a.lister(computeKind), a.mlComputeUpdate(), detach("detach"), detach("delete"))
}

type computeAttachFlags struct {
	target
	file, name, typ, resourceID, namespace, identity, users, description string
	set, tags                                                            []string
	noWait                                                               bool
}

func (a *app) mlComputeAttach() *cobra.Command {
	var f computeAttachFlags
	c := a.leaf(&cobra.Command{
		Use: "attach", Short: "Attach a Kubernetes cluster as a compute target",
		Example: `  fairlead ml compute attach -g G -w W --type kubernetes --name k8s --namespace default \
    --resource-id /subscriptions/S/resourceGroups/G/providers/Microsoft.Kubernetes/connectedClusters/C`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runAttach(cmd.Context(), f) },
	})
	a.addChild(c, &f.target, &f.name, "computes", "compute")
	addFile(c, &f.file, &f.set)
	fs := c.Flags()
	fs.StringVarP(&f.typ, "type", "t", "", "`type`: kubernetes")
	fs.StringVar(&f.resourceID, "resource-id", "", "resource `id` of the cluster")
	fs.StringVar(&f.namespace, "namespace", "", "Kubernetes `namespace` for jobs (default: default)")
	f.bindChangeable(c)
	return c
}

// bindChangeable adds the flags of what update may change, too.
func (f *computeAttachFlags) bindChangeable(c *cobra.Command) {
	fs := c.Flags()
	fs.StringVar(&f.identity, "identity-type", "", "SystemAssigned or UserAssigned")
	fs.StringVar(&f.users, "user-assigned-identities", "", "comma-separated `ids` of managed identities; the first is used")
	fs.StringVar(&f.description, "description", "", "description")
	multiVar(fs, &f.tags, "tags", "space-separated `key=value` tags")
	addNoWait(c, &f.noWait)
}

func (a *app) runAttach(ctx context.Context, f computeAttachFlags) error {
	doc, err := a.document(f.file, f.set, map[string]string{
		"name": f.name, "type": f.typ, "resource_id": f.resourceID, "namespace": f.namespace, "description": f.description,
	})
	if err != nil {
		return err
	}
	c, err := doc.Compute()
	if err != nil {
		return specError(f.file, err)
	}
	if len(f.tags) > 0 {
		c.Tags = tagValues(f.tags)
	}
	identity, err := f.identityBody(c)
	if err != nil {
		return err
	}
	s, ws, err := a.workspace(&f.target)
	if err != nil {
		return err
	}
	path, err := child(ws, "computes", c.Name)
	if err != nil {
		return err
	}
	got, err := s.get(ctx, ws.String(), apiML)
	if err != nil {
		return err
	}
	if c.Namespace == "" {
		c.Namespace = "default"
	}
	body := map[string]any{
		"location": text(got, "location"), "tags": c.Tags,
		"properties": map[string]any{
			"computeType": "Kubernetes", "resourceId": "/" + strings.TrimLeft(c.ResourceID, "/"), "description": c.Description,
			"properties": map[string]any{"namespace": c.Namespace},
		},
	}
	if identity != nil {
		body["identity"] = identity
	}
	res, err := s.put(ctx, path, apiML, body, f.noWait)
	if err != nil {
		return err
	}
	return a.print(computeShape(res), computeKind.columns...)
}

// identityBody reads the identity flags; identities given without a type mean UserAssigned.
func (f computeAttachFlags) identityBody(c *spec.Compute) (map[string]any, error) {
	typ, users := c.Identity.Type, c.Identity.UserAssigned
	if f.users != "" {
		users = strings.Split(f.users, ",")
	}
	if f.identity != "" {
		typ = f.identity
	}
	if typ == "" && len(users) > 0 {
		typ = "UserAssigned"
	}
	switch strings.ToLower(strings.ReplaceAll(typ, "_", "")) {
	case "":
		return nil, nil
	case "systemassigned":
		if len(users) > 0 {
			return nil, usagef("argument --user-assigned-identities: belongs to --identity-type UserAssigned, not SystemAssigned")
		}
		return managedIdentity(spec.ManagedIdentity{Type: "SystemAssigned"}), nil
	case "userassigned":
		if len(users) == 0 || strings.TrimSpace(users[0]) == "" {
			return nil, usagef("argument --user-assigned-identities: is required with --identity-type UserAssigned")
		}
		return managedIdentity(spec.ManagedIdentity{Type: "UserAssigned", UserAssigned: users}), nil
	}
	return nil, usagef("argument --identity-type: invalid choice: %q (choose from SystemAssigned, UserAssigned)", typ)
}

// managedIdentity is the API's form of an identity, of which the first user-assigned one is used; nil where nothing is said of any.
func managedIdentity(m spec.ManagedIdentity) map[string]any {
	switch m.Type {
	case "":
		return nil
	case "UserAssigned":
		id := "/" + strings.TrimLeft(strings.TrimSpace(m.UserAssigned[0]), "/")
		return map[string]any{"type": m.Type, "userAssignedIdentities": map[string]any{id: map[string]any{}}}
	}
	return map[string]any{"type": m.Type}
}

func (a *app) mlComputeUpdate() *cobra.Command {
	var f computeAttachFlags
	c := a.leaf(&cobra.Command{
		Use: "update", Short: "Change a compute target's namespace, identity, description or tags",
		Example: "  fairlead ml compute update -n k8s -g G -w W --namespace team-a",
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.runComputeUpdate(cmd.Context(), f) },
	})
	a.addChild(c, &f.target, &f.name, "computes", "compute")
	c.Flags().StringVar(&f.namespace, "namespace", "", "Kubernetes `namespace` for jobs")
	f.bindChangeable(c)
	return c
}

func (a *app) runComputeUpdate(ctx context.Context, f computeAttachFlags) error {
	identity, err := f.identityBody(&spec.Compute{})
	if err != nil {
		return err
	}
	s, ws, err := a.workspace(&f.target, need{"--name/-n", f.name})
	if err != nil {
		return err
	}
	path, err := child(ws, "computes", f.name)
	if err != nil {
		return err
	}
	got, err := s.get(ctx, path, apiML)
	if err != nil {
		return err
	}
	p := sub(got, "properties")
	props := map[string]any{"computeType": "Kubernetes", "resourceId": p["resourceId"], "description": p["description"], "properties": p["properties"]}
	if f.description != "" {
		props["description"] = f.description
	}
	if f.namespace != "" {
		inner := map[string]any{}
		for k, v := range sub(p, "properties") {
			inner[k] = v
		}
		inner["namespace"] = f.namespace
		props["properties"] = inner
	}
	body := map[string]any{"location": got["location"], "tags": got["tags"], "properties": props}
	if body["identity"] = got["identity"]; identity != nil {
		body["identity"] = identity
	}
	if body["identity"] == nil {
		delete(body, "identity")
	}
	if len(f.tags) > 0 {
		body["tags"] = tagValues(f.tags)
	}
	res, err := s.put(ctx, path, apiML, body, f.noWait)
	if err != nil {
		return err
	}
	return a.print(computeShape(res), computeKind.columns...)
}
