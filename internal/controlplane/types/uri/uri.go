// Package uri reads the ways a job, a model or a data asset says where its bytes are: azureml:// addresses, asset names,
// resource ids and https addresses. It reads only; package types looks the named things up.
package uri

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"fairlead.dev/fairlead/api/arm"
)

// Kind is what a reference names.
type Kind int

// The kinds of reference.
const (
	// Datastore: a file or folder (Path) of datastore Name.
	Datastore Kind = iota + 1
	// Asset: an asset's version, or a label of it.
	Asset
	// JobOutput: output Output of job Name, Path below it.
	JobOutput
	// HTTPS: an address that is fetched as it is.
	HTTPS
)

// Help lists the forms that Parse reads, for error messages.
const Help = "azureml://datastores/<datastore>/paths/<path>, azureml:<name>:<version>, " +
	"azureml://jobs/<job>/outputs/<output>/paths/<path>, an asset's resource id, or https://…"

// Ref is a reference that was read. Fields that its form does not have are empty.
type Ref struct {
	Kind Kind
	// Workspace is the workspace's Key when the reference names one by subscription, group and name.
	Workspace string
	// WorkspaceID is the workspace's GUID when the reference names it so.
	WorkspaceID string
	// Type is codes, environments, models or data when the reference says which; Name the asset, datastore or job.
	Type, Name string
	// Version or Label (latest) of an asset.
	Version, Label string
	Output         string
	// Path is relative, without leading or trailing slash; "" is the whole of it.
	Path string
	URL  string
}

var (
	nameRule    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$`)
	storeRule   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,254}$`)
	encodedDots = regexp.MustCompile(`(?i)%(2e|2f|5c|00)`)
)

// maxLength bounds a reference, in bytes.
const maxLength = 2048

// Parse reads a reference. Its errors say what is wrong with s and what would be right.
func Parse(s string) (Ref, error) {
	if err := CheckText(s); err != nil {
		return Ref{}, err
	}
	low := strings.ToLower(s)
	switch {
	case s == "":
		return Ref{}, fmt.Errorf("is empty; give %s", Help)
	case strings.HasPrefix(low, "azureml://"):
		return parseAzureML(s, s[len("azureml://"):])
	case strings.HasPrefix(low, "azureml:/subscriptions/"):
		return parseResourceID(s[len("azureml:"):])
	case strings.HasPrefix(low, "/subscriptions/"):
		return parseResourceID(s)
	case strings.HasPrefix(low, "azureml:"):
		return parseName(s, s[len("azureml:"):])
	case strings.HasPrefix(low, "https://"):
		return parseHTTPS(s)
	case strings.Contains(s, "://"):
		return Ref{}, fmt.Errorf("%q is of a kind that is not served; give %s", s, Help)
	}
	return Ref{}, fmt.Errorf("%q is not an address that a cluster can read (a local path has to be uploaded first, as the CLI does); give %s", s, Help)
}

// CheckText refuses texts that are too long for a reference, are not UTF-8, or have control characters.
func CheckText(s string) error {
	if len(s) > maxLength {
		return fmt.Errorf("is %d bytes long; at most %d are allowed", len(s), maxLength)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%q is not UTF-8", s)
	}
	for _, r := range s {
		if r < 0x20 || r == 0x7f {
			return fmt.Errorf("%q has a control character", s)
		}
	}
	return nil
}

// CheckPath refuses paths that could leave the folder they are relative to. A trailing slash is allowed.
func CheckPath(p string) error {
	if strings.HasPrefix(p, "/") {
		return fmt.Errorf("path %q must be relative", p)
	}
	if strings.Contains(p, `\`) {
		return fmt.Errorf("path %q has a backslash; use /", p)
	}
	if m := encodedDots.FindString(p); m != "" {
		return fmt.Errorf("path %q holds an encoded %s, which is not allowed; write the path unencoded", p, m)
	}
	for i, part := range strings.Split(strings.TrimSuffix(p, "/"), "/") {
		if part == "." || part == ".." || part == "" && (i > 0 || p == "/") {
			return fmt.Errorf("path %q has a segment %q, which is not allowed", p, part)
		}
	}
	return nil
}

func parseAzureML(full, rest string) (Ref, error) {
	head, tail, _ := strings.Cut(rest, "/")
	switch strings.ToLower(head) {
	case "datastores":
		return parseDatastore(full, Ref{}, tail)
	case "subscriptions":
		return parseLong(full, tail)
	case "jobs":
		return parseJob(full, tail)
	case "locations":
		return parseLocation(full, tail)
	case "registries":
		return Ref{}, fmt.Errorf("%q: registries are not available in this release; register the asset in the workspace and give azureml:<name>:<version>", full)
	}
	return Ref{}, fmt.Errorf("%q has %q after azureml://; give %s", full, head, Help)
}

// parseDatastore reads <name>/paths/<path>.
func parseDatastore(full string, r Ref, s string) (Ref, error) {
	name, rest, _ := strings.Cut(s, "/")
	word, path, _ := strings.Cut(rest, "/")
	if !storeRule.MatchString(name) || !strings.EqualFold(word, "paths") {
		return Ref{}, fmt.Errorf("%q is incomplete; want …/datastores/<datastore>/paths/<path>", full)
	}
	if err := CheckPath(path); err != nil {
		return Ref{}, err
	}
	r.Kind, r.Name, r.Path = Datastore, name, strings.TrimSuffix(path, "/")
	return r, nil
}

// parseLong reads <s>/resourcegroups/<g>/[providers/Microsoft.MachineLearningServices/]workspaces/<w>/datastores/….
func parseLong(full, s string) (Ref, error) {
	parts := strings.SplitN(s, "/", 6)
	if len(parts) == 6 && strings.EqualFold(parts[3], "providers") {
		parts = append(parts[:3], strings.SplitN(parts[5], "/", 3)...)
	}
	if len(parts) != 6 || !strings.EqualFold(parts[1], "resourcegroups") || !strings.EqualFold(parts[3], "workspaces") {
		return Ref{}, fmt.Errorf("%q is incomplete; want azureml://subscriptions/<id>/resourcegroups/<group>/workspaces/<workspace>/datastores/<datastore>/paths/<path>", full)
	}
	id, err := arm.ParseID("/subscriptions/" + parts[0] + "/resourceGroups/" + parts[2] +
		"/providers/Microsoft.MachineLearningServices/workspaces/" + parts[4])
	if err != nil {
		return Ref{}, fmt.Errorf("%q: %w", full, err)
	}
	head, tail, _ := strings.Cut(parts[5], "/")
	if !strings.EqualFold(head, "datastores") {
		return Ref{}, fmt.Errorf("%q has %q where datastores/<datastore>/paths/<path> belongs", full, head)
	}
	return parseDatastore(full, Ref{Workspace: id.Key()}, tail)
}

// parseJob reads <job>/outputs/<output>[/paths/<path>].
func parseJob(full, s string) (Ref, error) {
	parts := strings.SplitN(strings.TrimSuffix(s, "/"), "/", 5)
	bad := len(parts) < 3 || !nameRule.MatchString(parts[0]) || !strings.EqualFold(parts[1], "outputs") || !nameRule.MatchString(parts[2])
	if bad || len(parts) > 3 && !strings.EqualFold(parts[3], "paths") {
		return Ref{}, fmt.Errorf("%q is incomplete; want azureml://jobs/<job>/outputs/<output>/paths/<path>, where output is a named output or \"artifacts\"", full)
	}
	r := Ref{Kind: JobOutput, Name: parts[0], Output: parts[2]}
	if len(parts) == 5 {
		if err := CheckPath(parts[4]); err != nil {
			return Ref{}, err
		}
		r.Path = strings.TrimSuffix(parts[4], "/")
	}
	return r, nil
}

// parseLocation reads <location>/workspaces/<guid>/<type>/<name>/versions/<version>.
func parseLocation(full, s string) (Ref, error) {
	p := strings.Split(strings.TrimSuffix(s, "/"), "/")
	if len(p) != 7 || !strings.EqualFold(p[1], "workspaces") || !strings.EqualFold(p[5], "versions") {
		return Ref{}, fmt.Errorf("%q is incomplete; want azureml://locations/<location>/workspaces/<id>/<type>/<name>/versions/<version>", full)
	}
	return asset(full, Ref{WorkspaceID: strings.ToLower(p[2]), Type: p[3], Name: p[4], Version: p[6]})
}

// parseResourceID reads the id of an asset's version, and that of a datastore with /paths/<path> behind it.
func parseResourceID(s string) (Ref, error) {
	workspace, store := s, ""
	if i := strings.Index(strings.ToLower(s), "/datastores/"); i > 0 {
		workspace, store = s[:i], s[i+len("/datastores/"):]
	}
	id, err := arm.ParseID(workspace)
	if err != nil {
		return Ref{}, err
	}
	n := len(id.Segments)
	if n != 1 || !strings.EqualFold(id.Segments[0].Namespace, "Microsoft.MachineLearningServices") {
		return Ref{}, fmt.Errorf("%q is not the id of an asset of a workspace", s)
	}
	seg := id.Segments[0]
	if !strings.EqualFold(seg.Types[0], "workspaces") {
		return Ref{}, fmt.Errorf("%q is not in a workspace", s)
	}
	ws := arm.ID{Subscription: id.Subscription, ResourceGroup: id.ResourceGroup,
		Segments: []arm.Segment{{Namespace: seg.Namespace, Types: seg.Types[:1], Names: seg.Names[:1]}}}
	if store != "" && len(seg.Types) == 1 {
		return parseDatastore(s, Ref{Workspace: ws.Key()}, store)
	}
	if len(seg.Types) != 3 || !strings.EqualFold(seg.Types[2], "versions") {
		return Ref{}, fmt.Errorf("%q names no version; want …/<type>/<name>/versions/<version>", s)
	}
	return asset(s, Ref{Workspace: ws.Key(), Type: seg.Types[1], Name: seg.Names[1], Version: seg.Names[2]})
}

// parseName reads <name>:<version> and <name>@<label>.
func parseName(full, s string) (Ref, error) {
	if name, label, ok := strings.Cut(s, "@"); ok {
		return asset(full, Ref{Name: name, Label: label})
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return Ref{}, fmt.Errorf("%q names no version; give azureml:%s:<version> or azureml:%s@latest", full, s, s)
	}
	return asset(full, Ref{Name: s[:i], Version: s[i+1:]})
}

func asset(full string, r Ref) (Ref, error) {
	r.Kind, r.Type = Asset, strings.ToLower(r.Type)
	switch r.Type {
	case "", "codes", "environments", "models", "data":
	default:
		return Ref{}, fmt.Errorf("%q is of type %q; it must be one of codes, environments, models, data", full, r.Type)
	}
	if r.Label != "" && !strings.EqualFold(r.Label, "latest") {
		return Ref{}, fmt.Errorf("%q has label %q; the one label there is is latest", full, r.Label)
	}
	r.Label = strings.ToLower(r.Label)
	if !nameRule.MatchString(r.Name) || r.Label == "" && !nameRule.MatchString(r.Version) {
		return Ref{}, fmt.Errorf("%q: names and versions begin with a letter or digit and hold letters, digits, '.', '_' and '-'; want azureml:<name>:<version>", full)
	}
	return r, nil
}

func parseHTTPS(s string) (Ref, error) {
	u, err := url.Parse(s)
	if err != nil {
		return Ref{}, fmt.Errorf("%q is not an https address: %w", s, err)
	}
	if u.Host == "" || u.User != nil || u.Fragment != "" {
		return Ref{}, fmt.Errorf("%q must be https://<host>/<path>, without user name or #fragment", s)
	}
	for _, part := range strings.Split(u.Path, "/") {
		if part == ".." || part == "." {
			return Ref{}, fmt.Errorf("%q has a path segment %q, which is not allowed", s, part)
		}
	}
	return Ref{Kind: HTTPS, URL: s}, nil
}
