// Package filter reads the filter language of MLflow's searches and its order_by clauses:
//
//	metrics.loss < 0.5 AND params.`learning rate` = '0.1' AND tags.team ILIKE '%vision%' AND attributes.run_id IN ('a', 'b')
//
// Conditions are joined by AND only. A key that holds other characters than letters, digits, '_' and '.' stands in ` or ".
package filter

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// maxLength bounds a filter in bytes, maxConditions its conditions.
const maxLength, maxConditions = 64 << 10, 100

// Language is what can be searched of one kind of thing.
type Language struct {
	// Entities are the words before the dot and what they mean; a key without a word is an attribute.
	Entities map[string]store.TrackedField
	// Texts and Numbers are the attributes that can be compared, Aliases other names of theirs.
	Texts, Numbers []string
	Aliases        map[string]string
	// Orders are the attributes that can be sorted by.
	Orders []string
	// OrderTexts says that parameters, tags and metrics can be sorted by, too.
	OrderAll bool
	// Lists are the attributes that can be compared with a list.
	Lists []string
	// Null says that parameters and tags may be compared by IS NULL and IS NOT NULL.
	Null bool
}

const (
	attribute = store.TrackedAttribute
	metric    = store.TrackedMetricField
	param     = store.TrackedParamField
	tag       = store.TrackedTagField
	dataset   = store.TrackedDatasetField
)

// The languages.
var (
	Runs = Language{
		Entities: map[string]store.TrackedField{"metric": metric, "metrics": metric, "parameter": param, "parameters": param, "param": param, "params": param,
			"tag": tag, "tags": tag, "attribute": attribute, "attributes": attribute, "attr": attribute, "run": attribute, "dataset": dataset, "datasets": dataset},
		Texts:   []string{"run_id", "run_name", "user_id", "status", "artifact_uri"},
		Numbers: []string{"start_time", "end_time"},
		Aliases: map[string]string{"created": "start_time", "Created": "start_time", "run name": "run_name", "Run name": "run_name", "Run Name": "run_name"},
		Orders:  []string{"run_id", "run_name", "user_id", "status", "artifact_uri", "start_time", "end_time"}, OrderAll: true,
		Lists: []string{"run_id"}, Null: true,
	}
	Experiments = Language{
		Entities: map[string]store.TrackedField{"attribute": attribute, "tag": tag, "tags": tag},
		Texts:    []string{"name", "experiment_id"}, Numbers: []string{"creation_time", "last_update_time"},
		Orders: []string{"name", "experiment_id", "creation_time", "last_update_time"}, Lists: []string{"experiment_id"}, Null: true,
	}
	Models = Language{
		Entities: map[string]store.TrackedField{"attribute": attribute, "tag": tag, "tags": tag},
		Texts:    []string{"name"}, Orders: []string{"name", "creation_timestamp", "last_updated_timestamp", "timestamp"},
	}
	ModelVersions = Language{
		Entities: map[string]store.TrackedField{"attribute": attribute, "tag": tag, "tags": tag},
		Texts:    []string{"name", "run_id", "source_path"}, Numbers: []string{"version_number", "creation_timestamp", "last_updated_timestamp"},
		Aliases: map[string]string{"version": "version_number"},
		Orders:  []string{"name", "version_number", "creation_timestamp", "last_updated_timestamp"}, Lists: []string{"run_id"},
	}
	LoggedModels = Language{
		Entities: map[string]store.TrackedField{"attributes": attribute, "metrics": metric, "params": param, "tags": tag},
		Texts:    []string{"name", "model_id", "model_type", "status", "source_run_id"},
		Numbers:  []string{"creation_timestamp_ms", "last_updated_timestamp_ms"},
		Aliases: map[string]string{"creation_time": "creation_timestamp_ms", "creation_timestamp": "creation_timestamp_ms", "last_updated_timestamp": "last_updated_timestamp_ms",
			"last_updated_time": "last_updated_timestamp_ms"},
		Orders: []string{"name", "model_id", "model_type", "status", "source_run_id", "creation_timestamp_ms", "last_updated_timestamp_ms"}, OrderAll: true,
		Lists: []string{"name", "model_id", "model_type", "status", "source_run_id"},
	}
)

// Parse reads a filter; "" is no condition.
func (l Language) Parse(text string) ([]store.TrackedCondition, error) {
	if len(text) > maxLength {
		return nil, fmt.Errorf("the filter is %d bytes long; at most %d are allowed", len(text), maxLength)
	}
	p := &parser{lexer: lexer{rest: text}}
	if err := p.next(); err != nil {
		return nil, err
	}
	var out []store.TrackedCondition
	for p.token.kind != end {
		if len(out) > 0 {
			if !p.word("AND") {
				return nil, fmt.Errorf("%s stands where AND or the end belongs; conditions are joined by AND only", p.token)
			}
			if err := p.next(); err != nil {
				return nil, err
			}
		}
		c, err := l.condition(p)
		if err != nil {
			return nil, err
		}
		if out = append(out, c); len(out) > maxConditions {
			return nil, fmt.Errorf("the filter has more than %d conditions", maxConditions)
		}
	}
	return out, nil
}

func (l Language) condition(p *parser) (store.TrackedCondition, error) {
	var c store.TrackedCondition
	if p.token.kind != name {
		return c, fmt.Errorf("%s stands where the name of what is compared belongs, such as metrics.loss", p.token)
	}
	var err error
	if c.Field, c.Key, err = l.identifier(p.token.text); err != nil {
		return c, err
	}
	if err := p.next(); err != nil {
		return c, err
	}
	if c.Op, err = p.operator(); err != nil {
		return c, err
	}
	numeric := c.Field == metric || c.Field == attribute && slices.Contains(l.Numbers, c.Key)
	if err := l.checkOperator(c, numeric); err != nil {
		return c, err
	}
	if c.Op == "IS NULL" || c.Op == "IS NOT NULL" {
		return c, nil
	}
	return c, l.value(p, &c, numeric)
}

// identifier takes a name apart: metrics.loss, tags."a b", run_id.
func (l Language) identifier(text string) (store.TrackedField, string, error) {
	word, key, dotted := strings.Cut(text, ".")
	if !dotted {
		word, key = "attribute", text
		if _, ok := l.Entities[word]; !ok {
			word = "attributes"
		}
	}
	field, ok := l.Entities[trim(word, "`")]
	if !ok {
		return "", "", fmt.Errorf("%q is no kind of thing that can be searched; those are %s", word, strings.Join(words(l.Entities), ", "))
	}
	key = trim(trim(trim(key, `"`), "'"), "`")
	if alias, ok := l.Aliases[key]; ok && field == attribute {
		key = alias
	}
	known := slices.Concat(l.Texts, l.Numbers, l.Orders)
	if field == dataset {
		known = []string{"name", "digest", "context"}
	}
	if (field == attribute || field == dataset) && !slices.Contains(known, key) {
		slices.Sort(known)
		return "", "", fmt.Errorf("there is no %s %q; those that can be searched are %s", field, key, strings.Join(slices.Compact(known), ", "))
	}
	return field, key, nil
}

func words(m map[string]store.TrackedField) []string {
	var out []string
	for w := range m {
		out = append(out, w)
	}
	slices.Sort(out)
	return out
}

func trim(s, quote string) string {
	if len(s) >= 2 && strings.HasPrefix(s, quote) && strings.HasSuffix(s, quote) {
		return s[1 : len(s)-1]
	}
	return s
}

var (
	numberOps = []string{"=", "!=", "<", "<=", ">", ">="}
	textOps   = []string{"=", "!=", "LIKE", "ILIKE"}
)

func (l Language) checkOperator(c store.TrackedCondition, numeric bool) error {
	ops := slices.Clone(textOps)
	switch {
	case numeric:
		ops = numberOps
	case c.Field == attribute && slices.Contains(l.Texts, c.Key) || c.Field == dataset:
		ops = append(ops, "IN", "NOT IN")
	case c.Field == attribute:
		return fmt.Errorf("%s can be sorted by but not searched", c.Key)
	case l.Null:
		ops = append(ops, "IS NULL", "IS NOT NULL")
	}
	if !slices.Contains(ops, c.Op) {
		return fmt.Errorf("%s %s cannot be compared by %s; it can by %s", c.Field, c.Key, c.Op, strings.Join(ops, ", "))
	}
	return nil
}

func (l Language) value(p *parser, c *store.TrackedCondition, numeric bool) error {
	t := p.token
	switch {
	case numeric && t.kind == number:
		n, err := strconv.ParseFloat(t.text, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return fmt.Errorf("%s is no number", t)
		}
		c.Number = n
	case numeric:
		return fmt.Errorf("%s stands where a number belongs, since %s %s is one", t, c.Field, c.Key)
	case t.kind == list && (c.Op == "IN" || c.Op == "NOT IN"):
		if c.Field == attribute && !slices.Contains(l.Lists, c.Key) {
			return fmt.Errorf("%s cannot be compared with a list; those that can are %s", c.Key, strings.Join(l.Lists, ", "))
		}
		c.List = t.list
	case t.kind == quoted && c.Op != "IN" && c.Op != "NOT IN":
		c.Text = t.text
	default:
		return fmt.Errorf("%s stands where a text in quotes%s belongs, to compare %s %s by %s", t, map[bool]string{true: " or a list of them"}[strings.HasSuffix(c.Op, "IN")], c.Field, c.Key, c.Op)
	}
	return p.next()
}

// ParseOrders reads order_by clauses.
func (l Language) ParseOrders(clauses []string) ([]store.TrackedOrder, error) {
	var out []store.TrackedOrder
	for _, text := range clauses {
		o, err := l.order(text)
		if err != nil {
			return nil, fmt.Errorf("order_by %.200q: %w", text, err)
		}
		if slices.ContainsFunc(out, func(have store.TrackedOrder) bool { return have.Field == o.Field && have.Key == o.Key }) {
			return nil, fmt.Errorf("order_by names %s %s twice", o.Field, o.Key)
		}
		if out = append(out, o); len(out) > maxConditions {
			return nil, fmt.Errorf("there are more than %d order_by clauses", maxConditions)
		}
	}
	return out, nil
}

func (l Language) order(text string) (o store.TrackedOrder, err error) {
	p := &parser{lexer: lexer{rest: text}}
	if err := p.next(); err != nil {
		return o, err
	}
	if p.token.kind != name {
		return o, fmt.Errorf("%s stands where the name of what to sort by belongs", p.token)
	}
	if o.Field, o.Key, err = l.identifier(p.token.text); err != nil {
		return o, err
	}
	switch {
	case o.Field == dataset || o.Field != attribute && !l.OrderAll:
		return o, fmt.Errorf("a %s cannot be sorted by", o.Field)
	case o.Field == attribute && !slices.Contains(l.Orders, o.Key):
		return o, fmt.Errorf("%s cannot be sorted by; those that can are %s", o.Key, strings.Join(l.Orders, ", "))
	}
	if err := p.next(); err != nil {
		return o, err
	}
	if o.Descending = p.word("DESC"); o.Descending || p.word("ASC") {
		if err := p.next(); err != nil {
			return o, err
		}
	}
	if p.token.kind != end {
		return o, fmt.Errorf("%s stands where ASC, DESC or the end belongs", p.token)
	}
	return o, nil
}
