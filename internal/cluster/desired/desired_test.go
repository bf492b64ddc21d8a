package desired

import (
	"encoding/json"
	"slices"
	"testing"

	"fairlead.dev/fairlead/internal/link"
	"github.com/google/go-cmp/cmp"
)

func TestFollower(t *testing.T) {
	put := func(key string) link.Event {
		return link.Event{Type: link.EventPut, Key: key, Value: json.RawMessage(`1`)}
	}
	reset, mark := link.Event{Type: link.EventReset}, link.Event{Type: link.EventBookmark, Seq: 9}
	cases := map[string]struct {
		events []link.Event
		want   []string
	}{
		"snapshot then changes":                {[]link.Event{reset, put("a"), put("b"), mark, put("c"), {Type: link.EventDelete, Key: "a"}, mark}, []string{"+a", "+b", "synced", "+c", "-a"}},
		"second snapshot drops what is absent": {[]link.Event{reset, put("a"), put("b"), mark, reset, put("b"), mark}, []string{"+a", "+b", "synced", "+b", "-a", "synced"}},
		"cut snapshot deletes nothing":         {[]link.Event{reset, put("a"), mark, reset, reset, put("a"), mark}, []string{"+a", "synced", "+a", "synced"}},
		"empty snapshot":                       {[]link.Event{reset, mark}, []string{"synced"}},
		"bookmark alone":                       {[]link.Event{mark}, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			f := NewFollower(Handler{
				Put:    func(k string, _ json.RawMessage) error { got = append(got, "+"+k); return nil },
				Delete: func(k string) error { got = append(got, "-"+k); return nil },
				Synced: func() error { got = append(got, "synced"); return nil },
			})
			for _, e := range c.events {
				if err := f.Apply(t.Context(), e); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(c.want, slices.Clip(got)); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}
