package types_test

import (
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
)

// A resource of a type that there are none of can't be made, and deleting it finds nothing.
func TestAbsentTypes(t *testing.T) {
	e := typestest.New(t)
	e.Base()
	id := typestest.Group + "/providers/Microsoft.KeyVault/vaults/kv"
	if err := e.TryPut(id, `{"location":"lab"}`); err == nil || !strings.Contains(err.Error(), "none are needed: secrets are kept encrypted") {
		t.Errorf("PUT: %v", err)
	}
	if err := e.TryDelete(id, false); err != nil {
		t.Errorf("DELETE: %v", err)
	}
}
