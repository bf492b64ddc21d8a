package template

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// guidSpace is the namespace of the version 5 ids that guid makes.
var guidSpace = uuid.MustParse("11fb06fb-712d-4ddd-98c7-e71bbd588830")

var textFunctions = map[string]function{
	"concat":  {least: 1, most: -1, run: concat},
	"string":  {least: 1, most: 1, run: func(_ env, a []any) (any, error) { return text(a[0]), nil }},
	"tolower": one(func(s string) (any, error) { return strings.ToLower(s), nil }),
	"toupper": one(func(s string) (any, error) { return strings.ToUpper(s), nil }),
	"trim":    one(func(s string) (any, error) { return strings.TrimSpace(s), nil }),
	"startswith": two(func(s, with string) (any, error) {
		return strings.HasPrefix(strings.ToLower(s), strings.ToLower(with)), nil
	}),
	"endswith": two(func(s, with string) (any, error) {
		return strings.HasSuffix(strings.ToLower(s), strings.ToLower(with)), nil
	}),
	"indexof": two(func(s, of string) (any, error) {
		return int64(strings.Index(strings.ToLower(s), strings.ToLower(of))), nil
	}),
	"lastindexof": two(func(s, of string) (any, error) {
		return int64(strings.LastIndex(strings.ToLower(s), strings.ToLower(of))), nil
	}),
	"split":     {least: 2, most: 2, run: split, size: splitSize},
	"join":      {least: 2, most: 2, run: join, size: joinSize, dear: true},
	"replace":   {least: 3, most: 3, run: replace, size: replaceSize},
	"substring": {least: 2, most: 3, run: substring},
	"padleft":   {least: 2, most: 3, run: padLeft},
	"format":    {least: 1, most: -1, run: format, size: formatSize},
	"base64":    one(func(s string) (any, error) { return base64.StdEncoding.EncodeToString([]byte(s)), nil }),
	"base64tostring": one(func(s string) (any, error) {
		raw, err := base64.StdEncoding.DecodeString(s)
		return string(raw), err
	}),
	"uricomponent":         one(func(s string) (any, error) { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20"), nil }),
	"uricomponenttostring": one(func(s string) (any, error) { return url.PathUnescape(s) }),
	"uri": two(func(base, path string) (any, error) {
		b, err := url.Parse(base)
		if err != nil {
			return nil, err
		}
		p, err := url.Parse(path)
		if err != nil {
			return nil, err
		}
		return b.ResolveReference(p).String(), nil
	}),
	"uniquestring": {least: 1, most: -1, run: func(_ env, a []any) (any, error) {
		s, err := strs(a)
		sum := sha256.Sum256([]byte(strings.Join(s, "\x00")))
		return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:13], err
	}},
	"guid": {least: 1, most: -1, run: func(_ env, a []any) (any, error) {
		s, err := strs(a)
		return uuid.NewSHA1(guidSpace, []byte(strings.Join(s, "-"))).String(), err
	}},
}

// Sizes of results: of texts that are put in many times, and of the pieces of a text.

func joinSize(args []any) int {
	list, _ := args[0].([]any)
	by, _ := args[1].(string)
	return times(len(list), len(by)) + weigh(args[0], budget)
}

func replaceSize(args []any) int {
	s, _ := args[0].(string)
	what, _ := args[1].(string)
	by, _ := args[2].(string)
	if what == "" {
		return 0
	}
	return len(s) + times(strings.Count(s, what), len(by))
}

func formatSize(args []any) int {
	f, _ := args[0].(string)
	largest := 100 // of digits
	for _, a := range args[1:] {
		largest = max(largest, weigh(a, budget))
	}
	return len(f) + times(strings.Count(f, "{"), largest)
}

// splitSize counts a piece for each byte, as a text of delimiters has.
func splitSize(args []any) int {
	s, _ := args[0].(string)
	return times(len(s), 8)
}

// times is a product that is no more than twice the budget.
func times(a, b int) int {
	if a > 0 && b > 2*budget/a {
		return 2 * budget
	}
	return a * b
}

func join(_ env, args []any) (any, error) {
	list, err := arg[[]any](args, 0)
	if err != nil {
		return nil, err
	}
	by, err := arg[string](args, 1)
	if err != nil {
		return nil, err
	}
	return joined(list, by), nil
}

func strs(args []any) ([]string, error) {
	out := make([]string, len(args))
	for i := range args {
		var err error
		if out[i], err = arg[string](args, i); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func joined(list []any, by string) string {
	parts := make([]string, len(list))
	for i, v := range list {
		parts[i] = text(v)
	}
	return strings.Join(parts, by)
}

// concat joins arrays, or writes anything else one after the other.
func concat(_ env, args []any) (any, error) {
	if _, ok := args[0].([]any); !ok {
		if i := slices.IndexFunc(args, func(v any) bool { return kindOf(v) == "array" || kindOf(v) == "object" }); i >= 0 {
			return nil, fmt.Errorf("argument %d is of type %s; it joins either arrays, or texts and numbers", i+1, kindOf(args[i]))
		}
		return joined(args, ""), nil
	}
	out := []any{}
	for i := range args {
		list, err := arg[[]any](args, i)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// split cuts at one delimiter, or at each of several.
func split(e env, args []any) (any, error) {
	s, err := arg[string](args, 0)
	if err != nil {
		return nil, err
	}
	list, ok := args[1].([]any)
	if !ok {
		list = args[1:]
	}
	by, err := strs(list)
	if err != nil {
		return nil, err
	}
	for i, b := range by {
		if b == "" {
			return nil, errors.New("a delimiter is empty")
		}
		by[i] = regexp.QuoteMeta(b)
	}
	if err := e.spend(len(s) * len(by)); err != nil {
		return nil, err
	}
	at, err := regexp.Compile(strings.Join(by, "|"))
	if err != nil {
		return nil, fmt.Errorf("the delimiters can't be looked for: %w", err)
	}
	out := []any{}
	for _, p := range at.Split(s, -1) {
		out = append(out, p)
	}
	return out, nil
}

func replace(_ env, args []any) (any, error) {
	s, err := strs(args)
	if err != nil {
		return nil, err
	}
	if s[1] == "" {
		return nil, errors.New("what is to be replaced is empty")
	}
	return strings.ReplaceAll(s[0], s[1], s[2]), nil
}

func substring(_ env, args []any) (any, error) {
	s, err := arg[string](args, 0)
	if err != nil {
		return nil, err
	}
	r := []rune(s)
	from, err := arg[int64](args, 1)
	if err != nil {
		return nil, err
	}
	n := int64(len(r)) - from
	if len(args) == 3 {
		if n, err = arg[int64](args, 2); err != nil {
			return nil, err
		}
	}
	if from < 0 || n < 0 || from > int64(len(r)) || n > int64(len(r))-from {
		return nil, fmt.Errorf("a text of %d characters has no %d at %d", len(r), n, from)
	}
	return string(r[from : from+n]), nil
}

func padLeft(_ env, args []any) (any, error) {
	n, err := arg[int64](args, 1)
	if err != nil {
		return nil, err
	}
	with := " "
	if len(args) == 3 {
		with = text(args[2])
	}
	if n < 0 || n > 1<<16 || len([]rune(with)) != 1 {
		return nil, errors.New("the length must be from 0 to 65536 and the padding one character")
	}
	s := text(args[0])
	return strings.Repeat(with, max(0, int(n)-len([]rune(s)))) + s, nil
}

var placeholder = regexp.MustCompile(`\{\{|\}\}|\{(\d+)(?::([^{}]*))?\}`)

// format fills {0}, {1} …; {0:D4} writes a number with at least four digits.
func format(_ env, args []any) (any, error) {
	f, err := arg[string](args, 0)
	if err != nil {
		return nil, err
	}
	out := placeholder.ReplaceAllStringFunc(f, func(m string) string {
		if m == "{{" || m == "}}" {
			return m[:1]
		}
		sub := placeholder.FindStringSubmatch(m)
		i, cause := strconv.Atoi(sub[1])
		if cause != nil || i+1 >= len(args) {
			err = fmt.Errorf("there is no argument for %s", m)
			return m
		}
		if sub[2] == "" {
			return text(args[i+1])
		}
		digits, cause := strconv.Atoi(strings.TrimLeft(sub[2], "dD"))
		n, ok := args[i+1].(int64)
		if cause != nil || !ok || digits > 100 || strings.TrimLeft(sub[2], "dD") == sub[2] {
			err = fmt.Errorf("%s is not supported; only {0:D4} for whole numbers is", m)
			return m
		}
		return fmt.Sprintf("%0*d", digits, n)
	})
	return out, err
}
