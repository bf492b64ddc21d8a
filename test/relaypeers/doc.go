// Package relaypeers compares Fairlead's relay with two that people use for the same job, in one run: rancher/remotedialer and
// Konnectivity (Kubernetes' apiserver-network-proxy). It is a module of its own, so that nothing else links them.
package relaypeers
