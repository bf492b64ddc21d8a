// Package conformance points other people's clients, unmodified and by their documented settings only, at a control plane in a
// process of its own. Clients in Go run with every `go test`; those that are installed from a package index need the tag
// conformance (`make conformance`), and those that run jobs the local cluster too (tag cluster). What each can do is kept in
// testdata/results.json, from which the table in docs/clients.md is made: run with -update to renew both.
package conformance
