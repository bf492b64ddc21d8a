package controlplane

import "testing"

func TestTrim(t *testing.T) {
	const mb = 1 << 20
	for name, c := range map[string]struct {
		live, sinceBefore, sinceLast uint64
		want                         bool
	}{
		"after a burst":                  {8 * mb, mb, 60 * mb, true},
		"in a burst":                     {8 * mb, 100 * mb, 160 * mb, false},
		"idle since it was trimmed":      {8 * mb, mb, 3 * mb, false},
		"much is alive, little is new":   {500 * mb, mb, 60 * mb, false},
		"much is alive, and much is new": {500 * mb, mb, 300 * mb, true},
	} {
		t.Run(name, func(t *testing.T) {
			now := heap{live: c.live, allocated: 1000 * mb}
			if got := now.trim(heap{allocated: 1000*mb - c.sinceBefore}, heap{allocated: 1000*mb - c.sinceLast}); got != c.want {
				t.Errorf("%t, want %t", got, c.want)
			}
		})
	}
}

// TestReadHeap: the runtime knows every figure by the name used here.
func TestReadHeap(t *testing.T) {
	if h := readHeap(); h.allocated == 0 || h.live > h.allocated {
		t.Errorf("%+v", h)
	}
}
