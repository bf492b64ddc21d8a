package sqlstore

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// MaxLimit is the largest page of a list.
const MaxLimit = 1000

// List returns one page of records of one type; see store.Query.
func (r reader) List(ctx context.Context, q store.Query) ([]store.Record, error) {
	if q.Limit < 1 || q.Limit > MaxLimit {
		return nil, fmt.Errorf("listing %q: limit %d is not within 1..%d", q.Type, q.Limit, MaxLimit)
	}
	text, args := listSQL(q)
	records, err := collect(ctx, r.q, text, args, scanRecord)
	if err != nil {
		return nil, fmt.Errorf("listing %q below %q: %w", q.Type, q.Parent, err)
	}
	return records, nil
}

// listSQL writes the query. Each branch is an equality on an index that ends in seq and a range on seq, so a page costs
// its own length however many records there are. Active and archived together are two such branches, merged.
// A prefix with any parent filters that walk: it costs what it skips, so it is for types that are few (workspaces, clusters).
func listSQL(q store.Query) (string, []any) {
	if !q.IncludeArchived {
		return pageSQL(q, q.OnlyArchived)
	}
	active, args := pageSQL(q, false)
	archived, more := pageSQL(q, true)
	text := `SELECT ` + columns + ` FROM (SELECT * FROM (` + active + `) AS a UNION ALL SELECT * FROM (` + archived + `) AS b) AS c` + order(q) + ` LIMIT ?`
	return text, append(append(args, more...), q.Limit)
}

func pageSQL(q store.Query, archived bool) (string, []any) {
	var b strings.Builder
	b.WriteString(`SELECT ` + columns + ` FROM records WHERE type = ? AND archived = ?`)
	args := []any{q.Type, archived}
	if !q.AnyParent {
		b.WriteString(` AND parent = ?`)
		args = append(args, q.Parent)
	}
	switch {
	case q.After <= 0:
	case q.Descending:
		b.WriteString(` AND seq < ?`)
		args = append(args, q.After)
	default:
		b.WriteString(` AND seq > ?`)
		args = append(args, q.After)
	}
	text, args := prefixed(b.String(), args, q.Prefix)
	return text + order(q) + ` LIMIT ?`, append(args, q.Limit)
}

func order(q store.Query) string {
	if q.Descending {
		return ` ORDER BY seq DESC`
	}
	return ` ORDER BY seq`
}

// prefixed limits a query to keys that begin with prefix. LIKE would need escapes and, on PostgreSQL, another index.
func prefixed(text string, args []any, prefix string) (string, []any) {
	if prefix == "" {
		return text, args
	}
	text += ` AND key >= ?`
	args = append(args, prefix)
	if end := afterPrefix(prefix); end != "" {
		text += ` AND key < ?`
		args = append(args, end)
	}
	return text, args
}

// afterPrefix is the least string above every string that begins with prefix; "" when there is none. The last rune is
// raised rather than the last byte, so that the bound is valid UTF-8; both orders agree.
func afterPrefix(prefix string) string {
	for prefix != "" {
		r, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch {
		case r == utf8.MaxRune:
			continue
		case r == 0xD7FF: // the surrogates are not runes
			return prefix + "\uE000"
		}
		return prefix + string(r+1)
	}
	return ""
}
