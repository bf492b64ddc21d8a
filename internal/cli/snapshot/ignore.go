package snapshot

import (
	"bufio"
	"fmt"
	"os"
	"path"
	"strings"
)

// always are names that never belong to a snapshot.
var always = map[string]bool{".git": true, "__pycache__": true, ".ipynb_checkpoints": true, ".DS_Store": true, ".amltmp": true}

// rule is one line of an ignore file, with gitignore's meaning.
type rule struct {
	negate, dirOnly bool
	// parts is the pattern by path element; it is matched against the whole path below the ignore file's folder.
	parts []string
}

// Rules are the lines of one ignore file; the last that matches decides.
type Rules []rule

// ParseRules reads the text of an ignore file.
func ParseRules(text string) (Rules, error) {
	var rules Rules
	sc := bufio.NewScanner(strings.NewReader(text))
	for n := 1; sc.Scan(); n++ {
		r, ok, err := parseRule(sc.Text())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if ok {
			rules = append(rules, r)
		}
	}
	return rules, sc.Err()
}

func parseRule(line string) (rule, bool, error) {
	line = strings.TrimSuffix(line, "\r")
	for strings.HasSuffix(line, " ") && !strings.HasSuffix(line, `\ `) {
		line = line[:len(line)-1]
	}
	if line == "" || line[0] == '#' {
		return rule{}, false, nil
	}
	var r rule
	if line[0] == '!' {
		r.negate, line = true, line[1:]
	} else if strings.HasPrefix(line, `\!`) || strings.HasPrefix(line, `\#`) {
		line = line[1:]
	}
	if strings.HasSuffix(line, "/") {
		r.dirOnly, line = true, strings.TrimRight(line, "/")
	}
	anchored := strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if line == "" {
		return rule{}, false, nil
	}
	r.parts = strings.Split(line, "/")
	if !anchored {
		r.parts = append([]string{"**"}, r.parts...)
	}
	for i, p := range r.parts {
		p = strings.ReplaceAll(p, "[!", "[^")
		if r.parts[i] = p; p == "**" {
			continue
		}
		if _, err := path.Match(p, ""); err != nil {
			return rule{}, false, fmt.Errorf("pattern %q: %w", line, err)
		}
	}
	return r, true, nil
}

// Match says whether the rules ignore a slash-separated path (ok: one of them decides).
func (rs Rules) Match(rel string, dir bool) (ignored, ok bool) {
	parts := strings.Split(rel, "/")
	for i := len(rs) - 1; i >= 0; i-- {
		if rs[i].dirOnly && !dir {
			continue
		}
		if matchParts(rs[i].parts, parts) {
			return !rs[i].negate, true
		}
	}
	return false, false
}

// matchParts matches path elements. After a mismatch only the last ** is tried again, one element further on: an earlier one
// could only leave more to it.
func matchParts(pattern, parts []string) bool {
	p, i := 0, 0
	last, at := -1, 0 // the last ** and where what follows it was tried
	for i < len(parts) {
		switch {
		case p < len(pattern) && pattern[p] == "**":
			if last, at = p, i; p == len(pattern)-1 {
				return true
			}
			p++
		case p < len(pattern) && matchPart(pattern[p], parts[i]):
			p, i = p+1, i+1
		case last >= 0:
			at++
			p, i = last+1, at
		default:
			return false
		}
	}
	return p == len(pattern)
}

func matchPart(pattern, part string) bool {
	ok, _ := path.Match(pattern, part)
	return ok
}

func loadRules(file string) (Rules, bool, error) {
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading ignore file: %w", err)
	}
	rules, err := ParseRules(string(data))
	if err != nil {
		return nil, false, fmt.Errorf("reading %s: %w", file, err)
	}
	return rules, true, nil
}
