//go:build python

package identity_test

import (
	"os"
	"testing"
)

// TestAzureLibraryForPython: azure-identity's DefaultAzureCredential, unmodified. PYTHON is a Python that has it; scripts/test makes one.
func TestAzureLibraryForPython(t *testing.T) {
	python := os.Getenv("PYTHON")
	if python == "" {
		t.Fatal("PYTHON is not set; give the path of a Python with the package azure-identity")
	}
	p := newPod(t)
	for name, vars := range sources {
		t.Run(name, func(t *testing.T) { p.library(t, vars, python, "../../testing/azuretoken/azuretoken.py") })
	}
}
