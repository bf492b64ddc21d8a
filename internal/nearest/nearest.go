// Package nearest guesses which of the known words somebody meant.
package nearest

import "strings"

// Word is the known word that a misspelt one most likely stands for; "" when none is near. Case and "-" for "_" do not count.
func Word(word string, known []string) string {
	best, least := "", max(2, len(word)/3)+1
	low := fold(word)
	for _, k := range known {
		if n := distance(low, fold(k), least); n < least {
			best, least = k, n
		}
	}
	if least >= len(word) {
		return ""
	}
	return best
}

func fold(s string) string { return strings.ToLower(strings.ReplaceAll(s, "-", "_")) }

// distance counts insertions, deletions, changes and swaps of neighbours; anything ≥ limit may be returned as limit.
func distance(a, b string, limit int) int {
	if n := len(a) - len(b); n >= limit || -n >= limit {
		return limit
	}
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
