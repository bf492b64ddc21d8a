// Package e2e drives Fairlead as a user does, by its command line, on a real local cluster. Its tests need root on Linux and
// the build tag "cluster"; run them by `make test`, or one of them by `go test -tags cluster ./test/e2e -run TestJob/…`.
package e2e
