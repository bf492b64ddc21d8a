package logs

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/link"
)

// record is one line of a file in the container runtimes' format: "<time> stdout|stderr P|F[:tag…] <text>". P says that the
// next record of the same source goes on with the line.
type record struct {
	time    time.Time
	source  string
	partial bool
	text    []byte
}

func parseRecord(line []byte) (record, bool) {
	stamp, rest, _ := bytes.Cut(line, []byte{' '})
	source, rest, _ := bytes.Cut(rest, []byte{' '})
	tags, text, _ := bytes.Cut(rest, []byte{' '})
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if tag, _, _ := bytes.Cut(tags, []byte{':'}); err == nil && (string(source) == "stdout" || string(source) == "stderr") && (string(tag) == "P" || string(tag) == "F") {
		return record{t.UTC(), string(source), string(tag) == "P", text}, true
	}
	return record{}, false
}

// joined puts the records of data together to lines. used is how much of data they take: up to where no line is under way, or
// all of it at the end of a file to which nothing is added (final). Text that is no record is a line at the time given, or at
// that of the record before.
func joined(data []byte, final bool, at time.Time) (lines []link.LogLine, used int) {
	j := joiner{parts: map[string]*part{}}
	for pos := 0; pos < len(data); {
		end := bytes.IndexByte(data[pos:], '\n')
		switch {
		case end >= 0:
			end += pos + 1
		case final, len(data)-pos > link.MaxLogLine:
			end = len(data)
		default:
			return j.lines, used
		}
		r, ok := parseRecord(bytes.TrimSuffix(data[pos:end], []byte{'\n'}))
		if !ok {
			r = record{time: at, text: bytes.TrimSuffix(data[pos:end], []byte{'\n'})}
		}
		pos, at = end, r.time
		if j.add(r); j.held > link.MaxLogLine || final && pos == len(data) {
			j.flush()
		}
		if len(j.parts) == 0 {
			used = pos
		}
	}
	return j.lines, used
}

// part is a line under way.
type part struct {
	time time.Time
	text []byte
}

// joiner has the lines under way, by source.
type joiner struct {
	lines []link.LogLine
	parts map[string]*part
	held  int
}

func (j *joiner) add(r record) {
	p := j.parts[r.source]
	if p == nil {
		p = &part{time: r.time}
		j.parts[r.source] = p
	}
	p.text = append(p.text, r.text...)
	if j.held += len(r.text); !r.partial {
		j.end(r.source, p)
	}
}

func (j *joiner) end(source string, p *part) {
	j.held -= len(p.text)
	delete(j.parts, source)
	for text := p.text; ; { // a line that is too long becomes several
		n := min(len(text), link.MaxLogLine)
		j.lines = append(j.lines, link.LogLine{Time: p.time, Source: source, Text: strings.ToValidUTF8(string(text[:n]), "�")})
		if text = text[n:]; len(text) == 0 {
			return
		}
	}
}

func (j *joiner) flush() {
	for _, source := range []string{"", "stdout", "stderr"} {
		if p := j.parts[source]; p != nil {
			j.end(source, p)
		}
	}
}

// severe finds warnings and errors in the forms that the components use: klog's, key=value, and a Go program's last words.
var severe = regexp.MustCompile(`^[WEF]\d{4} |\blevel="?(?i:warn|error|fatal)|^(?:panic|fatal error|Error): `)

// important says whether a line of a component is a warning, an error or worse.
func important(line string) bool {
	if strings.HasPrefix(line, "{") {
		var l struct{ Level string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Level != "" {
			level := strings.ToLower(l.Level)
			return level != "debug" && level != "info" && level != "trace"
		}
	}
	return severe.MatchString(line)
}
