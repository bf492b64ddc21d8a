package extensionsettings

import (
	"regexp"
	"strings"
)

// Kind is what the values of a setting look like.
type Kind struct {
	// Name says it to people.
	Name string
	// canonical is the value as it is passed on, and whether it is one at all.
	canonical func(string) (string, bool)
	// fix says what to write instead.
	fix string
}

// Kinds.
var (
	boolean  = oneOf("True", "False")
	text     = Kind{Name: "text", canonical: func(v string) (string, bool) { return v, true }}
	dnsName  = matching("a DNS name", `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`, 253, strings.ToLower, "a name like ml.example.com")
	k8sName  = matching("the name of a Kubernetes object", `^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`, 253, nil, "lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit")
	quantity = matching("a Kubernetes quantity", `^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$`, 32, nil, "a quantity like 500m or 256Mi")
	seconds  = matching("a number of seconds", `^[1-9][0-9]{0,5}$`, 6, nil, "a whole number of seconds from 1 to 999999, such as 60")
	label    = matching("a label value", `^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`, 63, nil, "at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit")
	image    = matching("an image", `^[A-Za-z0-9]([A-Za-z0-9._:/@-]*[A-Za-z0-9])?$`, 512, nil, "an image like registry.example.com/name:tag")
	pemFile  = Kind{Name: "path of a PEM file", canonical: text.canonical}
	pem64    = Kind{Name: "base64 of a PEM file", canonical: text.canonical}
)

// below is what may follow the prefix of a family.
type below struct {
	rule *regexp.Regexp
	fix  string
}

var (
	nodeLabel = below{regexp.MustCompile(`^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`),
		"a node's label: at most 63 letters, digits, '-', '_' and '.', perhaps after a DNS name and '/'"}
	resource = below{regexp.MustCompile(`^(requests|limits)\.(cpu|memory)$`), "requests.cpu, requests.memory, limits.cpu or limits.memory"}
	word     = below{regexp.MustCompile(`^[A-Za-z]+$`), "the name of an image in the chart"}
)

// oneOf are values whose case does not matter.
func oneOf(values ...string) Kind {
	last := len(values) - 1
	name := values[last]
	if last > 0 {
		name = strings.Join(values[:last], ", ") + " or " + values[last]
	}
	return Kind{Name: name, fix: name, canonical: func(v string) (string, bool) {
		for _, known := range values {
			if strings.EqualFold(known, v) {
				return known, true
			}
		}
		return v, false
	}}
}

// matching are values of at most so many bytes that a regular expression matches after fold.
func matching(name, expr string, most int, fold func(string) string, fix string) Kind {
	re := regexp.MustCompile(expr)
	return Kind{Name: name, fix: fix, canonical: func(v string) (string, bool) {
		if fold != nil {
			v = fold(v)
		}
		return v, len(v) <= most && re.MatchString(v)
	}}
}
