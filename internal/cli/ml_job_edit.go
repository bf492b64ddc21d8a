package cli

import "strings"

// jobEdits reads what may be changed of a job that was submitted.
func jobEdits(set, tags []string, displayName, description string) (func(map[string]any), error) {
	values, err := keyValues("--set", set)
	if err != nil {
		return nil, err
	}
	addTags := tagValues(tags)
	for k, v := range values {
		name, isTag := strings.CutPrefix(k, "tags.")
		switch {
		case isTag && name != "":
			addTags[name] = v
		case k == "display_name":
			displayName = v
		case k == "description":
			description = v
		default:
			return nil, usagef("argument --set: %q cannot be changed after a job was submitted; display_name, description and tags.<name> can", k)
		}
	}
	if len(addTags) == 0 && displayName == "" && description == "" {
		return nil, usagef("nothing to change: give --set, --display-name, --description or --tags")
	}
	return func(p map[string]any) {
		if displayName != "" {
			p["displayName"] = displayName
		}
		if description != "" {
			p["description"] = description
		}
		if len(addTags) > 0 {
			all := map[string]any{}
			for k, v := range sub(p, "tags") {
				all[k] = v
			}
			for k, v := range addTags {
				all[k] = v
			}
			p["tags"] = all
		}
	}, nil
}
