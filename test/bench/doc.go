// Package bench measures the control plane as its users meet it: `fairlead server` processes of their own, spoken to over HTTPS. The
// same load goes to a plain Kubernetes API server beside it. The benchmarks need `make build cluster`; a test here kills one server of two.
package bench
