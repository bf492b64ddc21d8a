package filter

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind int

const (
	end kind = iota
	name
	quoted
	number
	comparison
	list
)

// token is a word of the language. Of a quoted text it is what is between the quotes, of a name all.
type token struct {
	kind kind
	text string
	list []string
	// quote is how a text is quoted: a name may stand in double quotes as well.
	quote byte
}

func (t token) String() string {
	switch t.kind {
	case end:
		return "the end"
	case list:
		return "a list"
	}
	return fmt.Sprintf("%.100q", t.text)
}

type lexer struct{ rest string }

type parser struct {
	lexer
	token token
}

func (p *parser) next() (err error) {
	p.token, err = p.scan()
	return err
}

// word reports whether the token is a keyword.
func (p *parser) word(w string) bool {
	return p.token.kind == name && strings.EqualFold(p.token.text, w)
}

// operator reads a comparison, of one word or several.
func (p *parser) operator() (string, error) {
	t := p.token
	if t.kind == comparison {
		return t.text, p.next()
	}
	op := strings.ToUpper(t.text)
	if t.kind != name {
		return "", fmt.Errorf("%s stands where a comparison belongs, such as = or LIKE", t)
	}
	if err := p.next(); err != nil {
		return "", err
	}
	for _, more := range map[string][]string{"NOT": {"IN"}, "IS": {"NOT", "NULL"}}[op] {
		if p.word(more) {
			op += " " + more
			if err := p.next(); err != nil {
				return "", err
			}
		}
	}
	return op, nil
}

func (l *lexer) scan() (token, error) {
	l.rest = strings.TrimLeftFunc(l.rest, unicode.IsSpace)
	if l.rest == "" {
		return token{}, nil
	}
	c := l.rest[0]
	switch {
	case c == '\'' || c == '"':
		text, err := l.quotedText(c)
		return token{kind: quoted, text: text, quote: c}, err
	case c == '(':
		l.rest = l.rest[1:]
		values, err := l.values()
		return token{kind: list, list: values}, err
	case strings.IndexByte("<>=!~", c) >= 0:
		return token{kind: comparison, text: l.take(func(r rune) bool { return strings.ContainsRune("<>=!~", r) })}, nil
	case c == '-' || c == '+' || c == '.' || c >= '0' && c <= '9':
		if text := l.number(); text != "" {
			return token{kind: number, text: text}, nil
		}
	}
	return l.name()
}

func (l *lexer) take(is func(rune) bool) string {
	n := strings.IndexFunc(l.rest, func(r rune) bool { return !is(r) })
	if n < 0 {
		n = len(l.rest)
	}
	text := l.rest[:n]
	l.rest = l.rest[n:]
	return text
}

// quotedText reads up to the quote that ends a text; a quote that is doubled or follows a backslash does not, and stays as it is.
func (l *lexer) quotedText(quote byte) (string, error) {
	for i := 1; i < len(l.rest); i++ {
		switch {
		case l.rest[i] == '\\' && i+1 < len(l.rest) && l.rest[i+1] == quote && strings.IndexByte(l.rest[i+2:], quote) >= 0:
			i++
		case l.rest[i] == quote && i+1 < len(l.rest) && l.rest[i+1] == quote:
			i++
		case l.rest[i] == quote:
			text := l.rest[1:i]
			l.rest = l.rest[i+1:]
			return text, nil
		}
	}
	return "", fmt.Errorf("the quote of %.100s is not closed", l.rest)
}

// values reads what is between parentheses: texts in quotes, with commas.
func (l *lexer) values() (out []string, err error) {
	for {
		l.rest = strings.TrimLeftFunc(l.rest, unicode.IsSpace)
		if l.rest == "" || l.rest[0] != '\'' && l.rest[0] != '"' {
			break
		}
		text, err := l.quotedText(l.rest[0])
		if err != nil {
			return nil, err
		}
		out = append(out, text)
		l.rest = strings.TrimLeftFunc(l.rest, unicode.IsSpace)
		if !strings.HasPrefix(l.rest, ",") {
			break
		}
		l.rest = l.rest[1:]
	}
	if !strings.HasPrefix(l.rest, ")") || len(out) == 0 {
		return nil, errors.New("a list is texts in quotes between parentheses, with commas between them, such as ('a', 'b')")
	}
	l.rest = l.rest[1:]
	return out, nil
}

// number reads digits with sign, point and exponent; "" when there is none.
func (l *lexer) number() string {
	i, digits := 0, 0
	if l.rest[i] == '-' || l.rest[i] == '+' {
		i++
	}
	for point := false; i < len(l.rest) && (l.rest[i] >= '0' && l.rest[i] <= '9' || l.rest[i] == '.' && !point); i++ {
		if point = point || l.rest[i] == '.'; l.rest[i] != '.' {
			digits++
		}
	}
	if digits == 0 {
		return ""
	}
	if i < len(l.rest) && (l.rest[i] == 'e' || l.rest[i] == 'E') {
		j := i + 1
		if j < len(l.rest) && (l.rest[j] == '-' || l.rest[j] == '+') {
			j++
		}
		for start := j; j < len(l.rest) && l.rest[j] >= '0' && l.rest[j] <= '9'; j++ {
			if j >= start {
				i = j + 1
			}
		}
	}
	if r, _ := utf8.DecodeRuneInString(l.rest[i:]); r == '_' || unicode.IsLetter(r) {
		return "" // 3d is a name
	}
	text := l.rest[:i]
	l.rest = l.rest[i:]
	return text
}

// name reads letters, digits, '_' and '.', and parts in quotes after a dot or in backticks anywhere.
func (l *lexer) name() (token, error) {
	start := l.rest
	for l.rest != "" {
		r, size := utf8.DecodeRuneInString(l.rest)
		used := len(start) - len(l.rest)
		switch {
		case r == '_' || r == '.' || unicode.IsLetter(r) || unicode.IsDigit(r):
			l.rest = l.rest[size:]
			continue
		case r == '`', (r == '"' || r == '\'') && used > 0 && start[used-1] == '.':
			closing := strings.IndexRune(l.rest[1:], r)
			if closing < 0 {
				return token{}, fmt.Errorf("the quote of %.100s is not closed", l.rest)
			}
			l.rest = l.rest[closing+2:]
			continue
		}
		break
	}
	text := start[:len(start)-len(l.rest)]
	if text == "" {
		return token{}, fmt.Errorf("%.100q has no meaning in a filter", start)
	}
	return token{kind: name, text: text}, nil
}
