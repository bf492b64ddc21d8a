package types

import (
	"context"
	"regexp"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/resources"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

func subscription(d Deps) *resource.Type {
	return &resource.Type{
		Namespace: nsResources, Name: "subscriptions",
		APIVersions:         []string{"2022-12-01", "2021-01-01", "2019-11-01", "2016-06-01"},
		NameRule:            regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`),
		NameHelp:            "1 to 64 letters, digits and hyphens, usually a GUID",
		NoProvisioningState: true,
		Admit:               admitSubscription,
		Remove:              removeSubscription,
		Show: func(_ context.Context, _ store.Reader, rec store.Record, body map[string]any) error {
			name, _ := body["displayName"].(string)
			delete(body, "properties")
			return overlay(body, resources.Subscription{
				ID: rec.ID, SubscriptionID: rec.Name, TenantID: d.TenantID, DisplayName: name, State: "Enabled",
				AuthorizationSource: "RoleBased",
			})
		},
	}
}

func admitSubscription(_ context.Context, p *resource.Put) error {
	name, _ := p.Body["displayName"].(string)
	if name == "" {
		if props, ok := p.Body["properties"].(map[string]any); ok {
			name, _ = props["displayName"].(string)
		}
	}
	if name == "" {
		name = p.ID.Name()
	}
	p.Body["displayName"] = name
	return nil
}

func removeSubscription(ctx context.Context, d *resource.Removal) (bool, error) {
	groups, err := d.Tx.List(ctx, store.Query{Type: "microsoft.resources/resourcegroups", Parent: d.Record.Key, Limit: 1})
	if err != nil {
		return false, err
	}
	if len(groups) > 0 {
		return false, arm.Errorf(409, "SubscriptionNotEmpty",
			"Subscription %s still has resource groups, such as %s; delete them first.", d.Record.Name, groups[0].Name)
	}
	return false, nil
}
