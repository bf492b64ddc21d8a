package engine

import (
	"encoding/json"
	"testing"
)

// TestMerge is the table of RFC 7396, appendix A.
func TestMerge(t *testing.T) {
	for _, c := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		var target, patch any
		if err := json.Unmarshal([]byte(c[0]), &target); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(c[1]), &patch); err != nil {
			t.Fatal(err)
		}
		if got, _ := json.Marshal(Merge(target, patch)); string(got) != c[2] {
			t.Errorf("%s with %s is %s, want %s", c[0], c[1], got, c[2])
		}
	}
}

func TestMergeEnvelopeLeavesTheRest(t *testing.T) {
	got, err := MergeEnvelope(json.RawMessage(`{"location":"a","kind":"k","properties":{"x":1},"tags":{"t":"1"}}`), json.RawMessage(`{"location":"b","kind":null,"properties":{"x":null},"tags":null}`))
	if err != nil || string(got) != `{"kind":"k","location":"a","properties":{}}` {
		t.Errorf("%s %v", got, err)
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		header, etag string
		want         bool
	}{{`"1-2"`, `"1-2"`, true}, {`1-2`, `"1-2"`, true}, {`W/"1-2"`, `"1-2"`, true}, {`"0-0", "1-2"`, `"1-2"`, true}, {`*`, `"1-2"`, true}, {`"1-3"`, `"1-2"`, false}, {``, `"1-2"`, false}} {
		if got := matches(c.header, c.etag); got != c.want {
			t.Errorf("%s against %s: %t", c.header, c.etag, got)
		}
	}
}

// FuzzToken: a continuation token that is accepted is one that was made here.
func FuzzToken(f *testing.F) {
	f.Add(token(0, 1))
	f.Add("MC4tMQ")
	f.Add("!!")
	f.Fuzz(func(t *testing.T, s string) {
		typ, after, err := readToken(s, 3)
		if err != nil {
			return
		}
		if typ < 0 || typ >= 3 || after < 0 {
			t.Errorf("%q gives type %d after %d", s, typ, after)
		}
	})
}
