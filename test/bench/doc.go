// Package bench measures the control plane as its users meet it: a `fairlead server` process of its own, spoken to over HTTPS. The
// same load goes to a plain Kubernetes API server beside it. The benchmarks need `make build cluster`.
package bench
