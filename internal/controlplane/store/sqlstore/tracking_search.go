package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// prefixLength is how much of a value the indices hold, in characters.
const prefixLength = 64

// columnsTracked are the columns of attributes.
var columnsTracked = map[string]string{
	"run_id": "r.id", "run_name": "r.name", "user_id": "r.user_id", "status": "r.status", "artifact_uri": "r.artifacts",
	"start_time": "r.start_at", "end_time": "NULLIF(r.end_at, 0)",
}

// tablesTracked are the tables of what is logged by key.
var tablesTracked = map[store.TrackedField]string{
	store.TrackedMetricField: "tracked_metrics", store.TrackedParamField: "tracked_params", store.TrackedTagField: "tracked_tags",
}

// search is a statement that grows.
type search struct {
	d    Dialect
	text strings.Builder
	args []any
}

func (s *search) add(text string, args ...any) {
	s.text.WriteString(text)
	s.args = append(s.args, args...)
}

// SearchTracked selects runs.
func (r reader) SearchTracked(ctx context.Context, q store.TrackedQuery) ([]store.TrackedRun, error) {
	if len(q.Experiments) == 0 || !q.Active && !q.Deleted {
		return nil, nil
	}
	s := &search{d: r.q.dialect()}
	if err := s.build(q); err != nil {
		return nil, err
	}
	runs, err := collectOnce(ctx, r.q, s.text.String(), s.args, scanTracked)
	if err != nil {
		return nil, fmt.Errorf("searching runs: %w", err)
	}
	return runs, nil
}

func (s *search) build(q store.TrackedQuery) error {
	s.add(`SELECT ` + trackedRun + ` FROM tracked_runs r`)
	for i, o := range q.Orders {
		if table, ok := tablesTracked[o.Field]; ok {
			s.add(fmt.Sprintf(` LEFT JOIN %s o%d ON o%d.run = r.seq AND o%d.key = ?`, table, i, i, i), o.Key)
		}
	}
	s.add(` WHERE r.workspace = ?`, q.Workspace)
	if len(q.Experiments) == 1 {
		s.add(` AND r.experiment = ?`, q.Experiments[0])
	} else {
		s.among(` AND r.experiment IN `, q.Experiments)
	}
	if q.Active != q.Deleted {
		s.add(` AND r.deleted = ?`, q.Deleted)
	}
	for _, c := range q.Conditions {
		if err := s.condition(c); err != nil {
			return err
		}
	}
	if q.AfterID != "" {
		s.add(` AND r.start_at <= ? AND (r.start_at < ? OR r.id > ?)`, q.AfterStart, q.AfterStart, q.AfterID)
	}
	if err := s.order(q.Orders); err != nil {
		return err
	}
	s.add(` LIMIT ? OFFSET ?`, q.Limit, q.Offset)
	return nil
}

func (s *search) among(before string, values []string) {
	b, err := json.Marshal(values)
	if err != nil {
		panic(err) // texts always encode
	}
	s.add(before+`(`+s.d.Texts+`)`, string(b))
}

func (s *search) condition(c store.TrackedCondition) error {
	switch c.Field {
	case store.TrackedAttribute:
		column, ok := columnsTracked[c.Key]
		if !ok {
			return fmt.Errorf("runs have no attribute %q", c.Key)
		}
		s.add(` AND `)
		return s.compare(column, c, strings.HasSuffix(c.Key, "_time"))
	case store.TrackedDatasetField:
		s.add(` AND r.seq IN (SELECT v.run FROM tracked_datasets v WHERE `)
		if err := s.compare("v."+c.Key, c, false); err != nil {
			return err
		}
		s.add(`)`)
		return nil
	}
	table, ok := tablesTracked[c.Field]
	if !ok {
		return fmt.Errorf("runs are not searched by %q", c.Field)
	}
	if c.Op == "IS NULL" {
		s.add(` AND NOT EXISTS (SELECT 1 FROM `+table+` v WHERE v.run = r.seq AND v.key = ?)`, c.Key)
		return nil
	}
	s.add(` AND r.seq IN (SELECT v.run FROM `+table+` v WHERE v.key = ?`, c.Key)
	if c.Op != "IS NOT NULL" {
		s.add(` AND `)
		if err := s.value(c); err != nil {
			return err
		}
	}
	s.add(`)`)
	return nil
}

// value compares what was logged. A metric that is no number differs from every number and is otherwise incomparable.
func (s *search) value(c store.TrackedCondition) error {
	if c.Field != store.TrackedMetricField {
		if c.Op == "=" {
			s.add(`substr(v.value, 1, 64) = ? AND `, firstRunes(c.Text, prefixLength))
		}
		return s.compare("v.value", c, false)
	}
	s.add(`(`)
	if err := s.compare("v.value", c, true); err != nil {
		return err
	}
	if c.Op == "!=" {
		s.add(` OR v.nan)`)
	} else {
		s.add(` AND NOT v.nan)`)
	}
	return nil
}

func firstRunes(text string, n int) string {
	for i := range text {
		if n == 0 {
			return text[:i]
		}
		n--
	}
	return text
}

func (s *search) compare(column string, c store.TrackedCondition, number bool) error {
	switch c.Op {
	case "=", "!=", "<", "<=", ">", ">=":
		if number {
			s.add(column+` `+c.Op+` CAST(? AS DOUBLE PRECISION)`, c.Number)
		} else {
			s.add(column+` `+c.Op+` ?`, c.Text)
		}
	case "LIKE", "ILIKE":
		text, pattern := s.d.Like(column, c.Text, c.Op == "ILIKE")
		s.add(text, pattern)
	case "IN":
		s.among(column+` IN `, c.List)
	case "NOT IN":
		s.among(column+` NOT IN `, c.List)
	default:
		return fmt.Errorf("runs are not compared by %q", c.Op)
	}
	return nil
}

// order sorts what is absent last and, of metrics, what is no number before that, whatever the direction.
func (s *search) order(orders []store.TrackedOrder) error {
	s.add(` ORDER BY `)
	byStart := false
	for i, o := range orders {
		direction := ``
		if o.Descending {
			direction = ` DESC`
		}
		column, ok := columnsTracked[o.Key]
		switch {
		case o.Field == store.TrackedAttribute && ok:
			byStart = byStart || o.Key == "start_time"
			s.add(`CASE WHEN ` + column + ` IS NULL THEN 1 ELSE 0 END, ` + column + direction + `, `)
		case o.Field == store.TrackedMetricField:
			s.add(fmt.Sprintf(`CASE WHEN o%d.nan THEN 1 WHEN o%d.value IS NULL THEN 2 ELSE 0 END, o%d.value%s, `, i, i, i, direction))
		case tablesTracked[o.Field] != "":
			s.add(fmt.Sprintf(`CASE WHEN o%d.value IS NULL THEN 1 ELSE 0 END, o%d.value%s, `, i, i, direction))
		default:
			return fmt.Errorf("runs are not ordered by %s %q", o.Field, o.Key)
		}
	}
	if !byStart {
		s.add(`r.start_at DESC, `)
	}
	s.add(`r.id`)
	return nil
}
