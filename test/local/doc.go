// Package local tests the local cluster as a user has it: up, pods, names, services, crashes, down. It needs root on
// Linux and the built programs (`make cluster`), and runs with
//
//	go test -tags cluster ./test/local
//
// All traffic stays inside the namespaces that the test makes.
package local
