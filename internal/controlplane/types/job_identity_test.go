package types

import (
	"strings"
	"testing"

	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/types/identity"
)

func TestChooseIdentity(t *testing.T) {
	list := []identity.Identity{{PrincipalID: "p1", ClientID: "c1", Name: "lab/computes/k8s"}, {ResourceID: "/x/B", PrincipalID: "p2", ClientID: "c2", Name: "B"}}
	managed := func(client, object, resource string) *machinelearning.JobIdentity {
		return &machinelearning.JobIdentity{IdentityType: machinelearning.IdentityManaged, ClientID: client, ObjectID: object, ResourceID: resource}
	}
	for name, c := range map[string]struct {
		list  []identity.Identity
		asked *machinelearning.JobIdentity
		want  string // principal
		says  string
	}{
		"says nothing, has none": {nil, nil, "", ""},
		"says nothing":           {list, nil, "p1", ""},
		"any":                    {list, managed("", "", ""), "p1", ""},
		"by client":              {list, managed("C2", "", ""), "p2", ""},
		"by object":              {list, managed("", "p2", ""), "p2", ""},
		"by resource":            {list, managed("", "", "/X/b"), "p2", ""},
		"none to have":           {nil, managed("", "", ""), "", "compute k8s has no managed identity"},
		"unknown client":         {list, managed("c3", "", ""), "", `properties.identity.clientId is "c3", which is no managed identity of compute k8s; it has: lab/computes/k8s (client id c1), B (client id c2).`},
		"unknown resource":       {list, managed("", "", "/x/c"), "", "properties.identity.resourceId"},
		"ids of two":             {list, managed("c1", "p2", ""), "", "properties.identity.clientId"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := chooseIdentity(c.list, c.asked, "k8s")
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("error %v lacks %q", err, c.says)
				}
				return
			}
			if err != nil || (got == nil) != (c.want == "") || got != nil && got.PrincipalID != c.want {
				t.Errorf("got %+v, %v; want %s", got, err, c.want)
			}
		})
	}
}
