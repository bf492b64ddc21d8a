package tracking

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// integer is a 64-bit number, which clients send as a number or as a text.
type integer int64

// UnmarshalJSON reads either form.
func (n *integer) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if text == "null" {
		return nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		f, errFloat := strconv.ParseFloat(text, 64) // 1.0 is one, too
		if errFloat != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return fmt.Errorf("%.50s is not a whole number of 64 bits", text)
		}
		v = int64(f)
	}
	*n = integer(v)
	return nil
}

// real is a double, which may be no number or infinite.
type real float64

// UnmarshalJSON reads numbers and the words NaN, Infinity and -Infinity.
func (n *real) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseFloat(strings.Trim(string(b), `"`), 64)
	if err != nil && !math.IsInf(v, 0) {
		return fmt.Errorf("%.50s is not a number of 64 bits", b)
	}
	*n = real(v)
	return nil
}

// MarshalJSON writes what is no number as clients read it.
func (n real) MarshalJSON() ([]byte, error) {
	switch v := float64(n); {
	case math.IsNaN(v):
		return []byte(`"NaN"`), nil
	case math.IsInf(v, 1):
		return []byte(`"Infinity"`), nil
	case math.IsInf(v, -1):
		return []byte(`"-Infinity"`), nil
	default:
		return strconv.AppendFloat(nil, v, 'g', -1, 64), nil
	}
}

// decode reads a request: the body's JSON, or the query of one without a body. What is unknown is left aside.
func (c *call) decode(into any) error {
	raw := c.body
	if len(raw) == 0 {
		var err error
		if raw, err = queryJSON(c.r.URL.Query(), reflect.TypeOf(into).Elem()); err != nil {
			return err
		}
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return invalid("The request is not as the API has it: %v.", err)
	}
	return nil
}

// queryJSON makes an object of a query: lists of what the type has as lists, texts of everything else.
func queryJSON(query map[string][]string, t reflect.Type) ([]byte, error) {
	out := map[string]any{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		values := query[name]
		if len(values) == 0 {
			continue
		}
		switch f.Type.Kind() {
		case reflect.Slice:
			out[name] = values
		case reflect.Bool:
			out[name] = strings.EqualFold(values[0], "true")
		default:
			out[name] = values[0]
		}
	}
	return json.Marshal(out)
}

// required refuses a request that lacks a field.
func required(field, value string) error {
	if value == "" {
		return invalid("Missing value for required parameter '%s'. See the API docs for more information about request parameters.", field)
	}
	return nil
}

// page is where a list goes on.
type page struct {
	Offset int    `json:"offset,omitempty"`
	Start  int64  `json:"start,omitempty"`
	ID     string `json:"id,omitempty"`
}

func (p page) token() string {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // numbers and texts always encode
	}
	return base64.StdEncoding.EncodeToString(b)
}

func parsePage(token string) (p page, err error) {
	if token == "" {
		return p, nil
	}
	b, err := base64.StdEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil || p.Offset < 0 {
		return p, invalid("Invalid page token %.100q; give the next_page_token of the page before as it is.", token)
	}
	return p, nil
}

// cut gives one page of a whole list, and the token of the next.
func cut[T any](all []T, p page, limit int) ([]T, string) {
	from := min(p.Offset, len(all))
	to := min(from+limit, len(all))
	if to == len(all) {
		return all[from:], ""
	}
	return all[from:to], page{Offset: to}.token()
}

// limited is how many results a request wants.
func limited(asked *integer, standard, most int) (int, error) {
	if asked == nil {
		return standard, nil
	}
	if *asked < 1 || int64(*asked) > int64(most) {
		return 0, invalid("Invalid value %d for parameter 'max_results' supplied. It must be at least 1 and at most %d.", *asked, most)
	}
	return int(*asked), nil
}
