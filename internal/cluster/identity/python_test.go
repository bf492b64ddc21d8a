//go:build python

package identity

import (
	"os"
	"testing"
)

// TestAzureLibraryForPython: azure-identity's DefaultAzureCredential, unmodified, as in internal/runtime/identity.
func TestAzureLibraryForPython(t *testing.T) {
	python := os.Getenv("PYTHON")
	if python == "" {
		t.Fatal("PYTHON is not set; give the path of a Python with the package azure-identity")
	}
	s := newStage(t)
	s.startController()
	s.startProxy()
	is, principal, proof, token := s.blue()
	library(t, s.sidecar(is, proof, token), func(t *testing.T, token string) {
		if who, err := s.Issuer.Verify(t.Context(), token); err != nil || who.ID != principal {
			t.Errorf("the token speaks for %+v, %v", who, err)
		}
	}, python, "../../testing/azuretoken/azuretoken.py")
}
