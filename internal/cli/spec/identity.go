package spec

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// ManagedIdentity is whom workloads of a compute or an endpoint speak as. Type is SystemAssigned, UserAssigned or None, or "" where nothing
// is said of it.
type ManagedIdentity struct {
	Type string
	// UserAssigned are resource ids; the first is used.
	UserAssigned []string
}

// read gives a mapping the meaning of an identity; types are the words that there are for Type.
func (m *ManagedIdentity) read(types ...string) setter {
	return object(func() fields {
		return fields{
			"type": func(d *decoder, n *yaml.Node, path string) {
				choice(&m.Type, types...)(d, n, path)
				m.Type = map[string]string{"systemassigned": "SystemAssigned", "userassigned": "UserAssigned", "none": "None"}[strings.ToLower(strings.ReplaceAll(m.Type, "_", ""))]
			},
			"user_assigned_identities": m.users,
		}
	})
}

// users reads a list of ids, or of mappings with a resource_id.
func (m *ManagedIdentity) users(d *decoder, n *yaml.Node, path string) {
	for _, v := range n.Content {
		if v.Kind == yaml.ScalarNode {
			m.UserAssigned = append(m.UserAssigned, v.Value)
			continue
		}
		var id string
		d.object(v, path, fields{"resource_id": text(&id)})
		m.UserAssigned = append(m.UserAssigned, id)
	}
}

// ofEndpoint reads an endpoint's identity, whose parts must fit each other.
func (m *ManagedIdentity) ofEndpoint(d *decoder, n *yaml.Node, path string) {
	before := len(d.problems)
	m.read("system_assigned", "user_assigned", "SystemAssigned", "UserAssigned", "none")(d, n, path)
	switch users := len(m.UserAssigned) > 0 && strings.TrimSpace(m.UserAssigned[0]) != ""; {
	case len(d.problems) > before:
	case m.Type == "":
		d.fail(n, "%s.type: is required; give system_assigned, user_assigned or none", path)
	case m.Type == "UserAssigned" && !users:
		d.fail(n, "%s.user_assigned_identities: is required with user_assigned: a list of resource ids ('fairlead identity show --query id')", path)
	case m.Type != "UserAssigned" && users:
		d.fail(n, "%s.user_assigned_identities: belongs to user_assigned, not %s", path, m.Type)
	}
}
