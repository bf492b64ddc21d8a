package spec

import (
	"fmt"
	"regexp"
	"strings"

	"fairlead.dev/fairlead/api/arm"
)

// Ref names an asset: by id, or by name with a version or a label.
type Ref struct{ ID, Name, Version, Label string }

var assetName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,254}$`)

// ParseRef reads azureml:<name>:<version>, azureml:<name>@<label> or a resource id, with or without "azureml:" before it.
func ParseRef(s string) (Ref, error) {
	body := strings.TrimPrefix(s, "azureml:")
	switch {
	case strings.HasPrefix(body, "//registries/"):
		return Ref{}, fmt.Errorf("%q: registries are not supported; want azureml:<name>:<version>", s)
	case strings.HasPrefix(strings.TrimPrefix(body, "/"), "subscriptions/"):
		id, err := arm.ParseID(body)
		if err != nil {
			return Ref{}, err
		}
		return Ref{ID: id.String()}, nil
	}
	if name, label, ok := strings.Cut(body, "@"); ok && assetName.MatchString(name) && assetName.MatchString(label) {
		return Ref{Name: name, Label: label}, nil
	}
	if name, version, ok := strings.Cut(body, ":"); ok && assetName.MatchString(name) && assetName.MatchString(version) {
		return Ref{Name: name, Version: version}, nil
	}
	return Ref{}, fmt.Errorf("%q names no asset; want azureml:<name>:<version> or azureml:<name>@latest", s)
}
