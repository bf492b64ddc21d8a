package front

// traceID is the trace id of a traceparent header (W3C Trace Context), "" if it has none. The header itself goes to the pod as it is.
func traceID(parent string) string {
	const begin, end = 3, 35 // 00-<32 hex digits>-…
	if len(parent) < 55 || parent[begin-1] != '-' || parent[end] != '-' {
		return ""
	}
	id, zero := parent[begin:end], true
	for i := range len(id) {
		switch c := id[i]; {
		case c >= '1' && c <= '9', c >= 'a' && c <= 'f':
			zero = false
		case c != '0':
			return ""
		}
	}
	if zero {
		return ""
	}
	return id
}
