package runtime

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"fairlead.dev/fairlead/api/commonruntime"
)

// MaxSpec bounds the spec document, in bytes (a ConfigMap holds no more).
const MaxSpec = 1 << 20

var portName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$`)

// versions are those of the document that this runtime reads.
var versions = []string{commonruntime.Version, commonruntime.Version3, commonruntime.Version4}

// ParseSpec reads and checks the document at commonruntime.SpecPath. Unknown fields are ignored.
func ParseSpec(b []byte) (commonruntime.JobSpec, error) {
	var s commonruntime.JobSpec
	if len(b) > MaxSpec {
		return s, fmt.Errorf("job spec has %d bytes; at most %d are read", len(b), MaxSpec)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("parsing job spec: %w", err)
	}
	return s, checkSpec(s)
}

func checkSpec(s commonruntime.JobSpec) error {
	switch {
	case !slices.Contains(versions, s.Version):
		return fmt.Errorf("job spec has version %q; this runtime reads only %s (upgrade the extension)", s.Version, strings.Join(versions, ", "))
	case strings.TrimSpace(s.Command) == "":
		return fmt.Errorf("job spec has no command")
	case s.Artifacts == "" || s.BlobBase == "":
		return fmt.Errorf("job spec needs artifacts and blobBase, has %q and %q", s.Artifacts, s.BlobBase)
	case !strings.HasPrefix(s.Artifacts, strings.TrimRight(s.BlobBase, "/")+"/"):
		return fmt.Errorf("artifacts %q is not below blobBase %q", s.Artifacts, s.BlobBase)
	case s.TimeoutSeconds < 0:
		return fmt.Errorf("timeoutSeconds is %d; it must be 0 (never) or more", s.TimeoutSeconds)
	case s.Identity != nil && !httpURL(s.Identity.TokenURL):
		return fmt.Errorf("identity.tokenUrl is %q, not an http or https URL", s.Identity.TokenURL)
	case s.Code != "" && !httpURL(s.Code):
		return fmt.Errorf("code is %q, not an http or https URL", s.Code)
	}
	for name, in := range s.Inputs {
		if err := checkPort("input", name, in.URL, in.Type == "literal"); err != nil {
			return err
		}
	}
	for name, out := range s.Outputs {
		if err := checkPort("output", name, out.URL, false); err != nil {
			return err
		}
	}
	if err := checkBatch(s); err != nil {
		return err
	}
	return checkEnvironment(s.Environment)
}

func checkPort(kind, name, rawURL string, literal bool) error {
	if !portName.MatchString(name) || strings.Contains(name, "..") {
		return fmt.Errorf("%s %q: a name has letters, digits, _, - and . only and begins with a letter, digit or _", kind, name)
	}
	if !literal && !httpURL(rawURL) {
		return fmt.Errorf("%s %q has URL %q, not an http or https URL", kind, name, rawURL)
	}
	return nil
}

func checkEnvironment(env map[string]string) error {
	for k, v := range env {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.Contains(v, "\x00") {
			return fmt.Errorf("environment variable %q: a name is not empty and has no \"=\"; neither name nor value has a NUL", k)
		}
	}
	return nil
}

func httpURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}

// baseName is the last segment of a URL's path as a safe file name; "data" when it has none.
func baseName(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "data"
	}
	name := path.Base(u.Path)
	if name == "." || name == ".." || name == "/" || strings.ContainsAny(name, "\x00/\\") || len(name) > 255 {
		return "data"
	}
	return name
}

// localName turns a blob's name below a folder into a relative local path, or says why it cannot be one.
func localName(name string) (string, error) {
	if !filepath.IsLocal(filepath.FromSlash(name)) || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("name %q would lie outside its folder", name)
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", fmt.Errorf("name %q has a \"..\" segment", name)
	}
	return filepath.Clean(filepath.FromSlash(name)), nil
}

var expression = regexp.MustCompile(`\$\{\{\s*([A-Za-z0-9_]+)\.([A-Za-z0-9_.-]+?)\s*\}\}`)

// substitute replaces ${{inputs.x}} and ${{outputs.x}} in one pass, so that values are never expanded themselves.
func substitute(command string, inputs, outputs map[string]string) (string, error) {
	var missing error
	out := expression.ReplaceAllStringFunc(command, func(m string) string {
		p := expression.FindStringSubmatch(m)
		from := map[string]map[string]string{"inputs": inputs, "outputs": outputs}[p[1]]
		v, ok := from[p[2]]
		if !ok && missing == nil {
			missing = fmt.Errorf("command uses %s, but the job has no such %s", m, strings.TrimSuffix(p[1], "s"))
		}
		return v
	})
	return out, missing
}
