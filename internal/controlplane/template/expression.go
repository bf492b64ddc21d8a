package template

import (
	"fmt"
	"strconv"
	"strings"
)

// Bounds of one expression.
const (
	maxExpression = 24576
	maxDepth      = 64
)

// node is a parsed expression: literal, call or access.
type node interface{}

type (
	// literal is a string or an int64.
	literal struct{ value any }
	call    struct {
		name string // as written
		args []node
	}
	// access is of.key, or of[key].
	access struct {
		of, key node
	}
)

// isExpression tells "[…]" from other strings; "[[" stands for a bracket.
func isExpression(s string) bool {
	return strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") && !strings.HasPrefix(s, "[[")
}

// parse reads the inside of "[…]".
func parse(s string) (node, error) {
	if len(s) > maxExpression {
		return nil, fmt.Errorf("the expression has %d characters; at most %d are allowed", len(s), maxExpression)
	}
	p := &parser{text: s}
	n, err := p.expression(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(s) {
		return nil, p.errorf("%q does not belong there", s[p.at:min(p.at+10, len(s))])
	}
	return n, nil
}

type parser struct {
	text string
	at   int
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("at character %d of the expression: %s", p.at+1, fmt.Sprintf(format, args...))
}

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// take consumes c if it comes next.
func (p *parser) take(c byte) bool {
	p.space()
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) expression(depth int) (node, error) {
	if depth > maxDepth {
		return nil, p.errorf("it is nested more than %d deep", maxDepth)
	}
	n, err := p.primary(depth)
	for steps := 0; err == nil; steps++ {
		if steps > maxDepth {
			return nil, p.errorf("more than %d properties in a row", maxDepth)
		}
		switch {
		case p.take('.'):
			name := p.name()
			if name == "" {
				return nil, p.errorf("a property's name is missing after '.'")
			}
			n = access{of: n, key: literal{name}}
		case p.take('['):
			var key node
			if key, err = p.expression(depth + 1); err == nil && !p.take(']') {
				err = p.errorf("']' is missing")
			}
			n = access{of: n, key: key}
		default:
			return n, nil
		}
	}
	return nil, err
}

func (p *parser) primary(depth int) (node, error) {
	p.space()
	if p.at == len(p.text) {
		return nil, p.errorf("it ends too early")
	}
	switch c := p.text[p.at]; {
	case c == '\'':
		return p.quoted()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	name := p.name()
	if name == "" {
		return nil, p.errorf("a function, a number or a text in single quotes is expected")
	}
	if !p.take('(') {
		return nil, p.errorf("'(' is missing after %s; write texts in single quotes", name)
	}
	c := call{name: name}
	for !p.take(')') {
		if len(c.args) > 0 && !p.take(',') {
			return nil, p.errorf("',' or ')' is missing in the arguments of %s", name)
		}
		arg, err := p.expression(depth + 1)
		if err != nil {
			return nil, err
		}
		c.args = append(c.args, arg)
	}
	return c, nil
}

func (p *parser) name() string {
	p.space()
	from := p.at
	for p.at < len(p.text) {
		c := p.text[p.at]
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (p.at == from || c < '0' || c > '9') {
			break
		}
		p.at++
	}
	return p.text[from:p.at]
}

// quoted reads a text in single quotes; two of them stand for one.
func (p *parser) quoted() (node, error) {
	var b strings.Builder
	for i := p.at + 1; i < len(p.text); i++ {
		switch {
		case p.text[i] != '\'':
			b.WriteByte(p.text[i])
		case i+1 < len(p.text) && p.text[i+1] == '\'':
			b.WriteByte('\'')
			i++
		default:
			p.at = i + 1
			return literal{b.String()}, nil
		}
	}
	return nil, p.errorf("the text has no end; a single quote is missing")
}

func (p *parser) number() (node, error) {
	from := p.at
	for p.at++; p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9'; p.at++ {
	}
	n, err := strconv.ParseInt(p.text[from:p.at], 10, 64)
	if err != nil {
		return nil, p.errorf("%q is no whole number", p.text[from:p.at])
	}
	return literal{n}, nil
}
