package peers

import (
	"fmt"
	"testing"
)

func TestShareDividesAllAndNoMore(t *testing.T) {
	for n := 1; n <= 5; n++ {
		var routers []string
		for i := range n {
			routers = append(routers, fmt.Sprintf("10.1.0.%d:9001", i))
		}
		got := map[string]int{}
		const pods = 300
		for pod := range pods {
			for _, places := range []int{1, 2, 7} {
				sum := 0
				for _, r := range routers {
					s := share(routers, r, fmt.Sprintf("10.2.0.%d:5001", pod), places)
					sum += s
					got[r] += s
				}
				if sum != places {
					t.Fatalf("%d routers have %d of %d places", n, sum, places)
				}
			}
		}
		for r, s := range got {
			if mean := pods * 10 / n; s < mean*8/10 || s > mean*12/10 {
				t.Errorf("of %d routers %s has %d places, the mean is %d", n, r, s, mean)
			}
		}
		if s := share(routers, "another", "pod", 10); s != 0 {
			t.Errorf("a router that the others do not know has %d places", s)
		}
	}
}

func TestLive(t *testing.T) {
	changes := 0
	p := New("a", func() { changes++ })
	if got := fmt.Sprint(p.live()); got != "[a]" {
		t.Errorf("alone: %s", got)
	}
	p.Set([]string{"c", "a", "b", "b"})
	p.miss("b", 1)
	if got := fmt.Sprint(p.live()); got != "[a b c]" || changes != 0 {
		t.Errorf("after one miss: %s, %d changes", got, changes)
	}
	p.miss("b", 1)
	p.miss("b", 1)
	if got := fmt.Sprint(p.live()); got != "[a c]" || changes != 1 {
		t.Errorf("after more: %s, %d changes", got, changes)
	}
	p.Set([]string{"a", "c"})
	p.Set([]string{"a", "b", "c"})
	if got := fmt.Sprint(p.live()); got != "[a b c]" {
		t.Errorf("a new pod at the address: %s", got)
	}
}
