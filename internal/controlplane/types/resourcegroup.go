package types

import (
	"context"
	"regexp"

	"fairlead.dev/fairlead/internal/controlplane/resource"
)

func resourceGroup(Deps) *resource.Type {
	return &resource.Type{
		Namespace: nsResources, Name: "resourceGroups",
		APIVersions: []string{"2024-03-01", "2022-09-01", "2021-04-01", "2020-10-01"},
		NameRule:    regexp.MustCompile(`^[A-Za-z0-9_.()-]{0,89}[A-Za-z0-9_()-]$`),
		NameHelp:    "1 to 90 letters, digits and _ - . ( ), not ending in a period",
		Admit: func(ctx context.Context, p *resource.Put) error {
			if old := p.Old; old != nil {
				if _, given := p.Body["location"]; !given {
					p.Body["location"] = topString(*old, "location")
				}
			}
			return location(ctx, p)
		},
	}
}
