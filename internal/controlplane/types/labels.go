package types

import (
	"maps"
	"strings"

	"fairlead.dev/fairlead/api/arm"
)

// ClusterLabels say in the cluster whose an object is: those that all have, and own.
func ClusterLabels(id arm.ID, computeKey string, own map[string]string) map[string]string {
	all := map[string]string{
		"ml.azure.com/subscription-id": id.Subscription, "ml.azure.com/resource-group": id.ResourceGroup,
		"ml.azure.com/workspace": workspaceOf(id).Name(), "ml.azure.com/compute": arm.MustParseID(computeKey).Name(),
	}
	maps.Copy(all, own)
	out := map[string]string{}
	for k, v := range all {
		if v = labelValue(v); v != "" {
			out[k] = v
		}
	}
	return out
}

// labelValue makes a name fit for a Kubernetes label: at most 63 characters, beginning and ending with a letter or digit.
func labelValue(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r) {
			return r
		}
		return '_'
	}, s)
	return strings.Trim(s[:min(len(s), 63)], "-_.")
}
