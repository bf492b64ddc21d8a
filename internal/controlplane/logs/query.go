package logs

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// Bounds of one answer.
const (
	defaultTail = 1000
	maxTail     = 10000
	// maxHeld bounds the text of an answer's lines in memory, maxScan what is read to find them.
	maxHeld = 32 << 20
	maxScan = 2 << 30
	// maxObjects bounds the objects that are looked at, maxStreams those that are listed.
	maxObjects = 20000
	maxStreams = 5000
	maxSearch  = 1000
)

// query is what a reader asks for.
type query struct {
	store.LogQuery
	search *regexp.Regexp
	tail   int
	follow bool
}

// parameters are those that a reader may give, in lower case.
var parameters = []string{"namespace", "pod", "container", "job", "workspace", "search", "since", "until", "tail", "follow", "api-version"}

func parse(owner string, q map[string]string, now time.Time) (query, error) {
	out := query{tail: defaultTail, LogQuery: store.LogQuery{Owner: owner, Namespace: q["namespace"], Pod: q["pod"], Container: q["container"], Job: q["job"], Workspace: q["workspace"]}}
	for name := range q {
		if low := strings.ToLower(name); !slices.Contains(parameters, low) {
			return out, arm.Invalid(name, "There is no parameter %.40q. There are: %s.", name, strings.Join(parameters, ", "))
		}
	}
	var err error
	if s := q["search"]; s != "" {
		if len(s) > maxSearch {
			return out, arm.Invalid("search", "search has %d bytes; at most %d are allowed.", len(s), maxSearch)
		}
		if out.search, err = regexp.Compile(s); err != nil { // Go's expressions take time in proportion to the text, whatever they are
			return out, arm.Invalid("search", "search=%.100q is not a regular expression: %v. Put a backslash before characters that are meant as they are.", s, err)
		}
	}
	if out.From, err = resource.Moment("since", q["since"], now); err != nil {
		return out, err
	}
	if out.To, err = resource.Moment("until", q["until"], now); err != nil {
		return out, err
	}
	if !out.To.IsZero() && !out.From.Before(out.To) {
		return out, arm.Invalid("until", "until=%s is not after since=%s.", out.To.Format(time.RFC3339), out.From.Format(time.RFC3339))
	}
	if v := q["tail"]; v != "" {
		if out.tail, err = strconv.Atoi(v); err != nil || out.tail < 0 || out.tail > maxTail {
			return out, arm.Invalid("tail", "tail=%.20q is not a number from 0 to %d; ask for earlier lines with until.", v, maxTail)
		}
	}
	if v := q["follow"]; v != "" {
		if out.follow, err = strconv.ParseBool(v); err != nil {
			return out, arm.Invalid("follow", "follow=%.20q is not true or false.", v)
		}
	}
	if out.follow && !out.To.IsZero() {
		return out, arm.Invalid("until", "until cannot be given with follow: what is followed has no end.")
	}
	return out, nil
}
