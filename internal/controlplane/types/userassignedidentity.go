package types

import (
	"context"
	"regexp"

	"fairlead.dev/fairlead/api/managedidentity"
	"fairlead.dev/fairlead/internal/controlplane/resource"
)

func userAssignedIdentity(d Deps) *resource.Type {
	return &resource.Type{
		Namespace: nsIdentity, Name: "userAssignedIdentities",
		APIVersions:         []string{"2023-01-31", "2018-11-30"},
		NameRule:            regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{2,127}$`),
		NameHelp:            "3 to 128 letters, digits, '-' and '_', beginning with a letter or digit",
		NoProvisioningState: true,
		Admit: func(ctx context.Context, p *resource.Put) error {
			props, err := object(p.Body, "properties")
			if err != nil {
				return err
			}
			old, err := oldProperties(p.Old)
			if err != nil {
				return err
			}
			if old == nil {
				err = overlay(props, managedidentity.UserAssignedIdentityProperties{
					TenantID: d.TenantID, PrincipalID: d.newID(), ClientID: d.newID()})
			} else {
				restore(props, old, "tenantId", "principalId", "clientId")
			}
			if err != nil {
				return err
			}
			return location(ctx, p)
		},
	}
}
