package resource

// Author is how a principal is kept in CreatedBy and UpdatedBy: its kind for systemData, a colon, its name.
func Author(p Principal) string {
	name := p.Name
	if name == "" {
		name = p.ID
	}
	return IdentityType(p.Kind) + ":" + name
}

// IdentityType is a principal's kind as systemData has it.
func IdentityType(kind string) string {
	switch kind {
	case "User", "ManagedIdentity":
		return kind
	}
	return "Application"
}
