package rows

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestShown: a row that is there has a test of its work, and the test is there, too.
func TestShown(t *testing.T) {
	for _, row := range Table {
		if row.Pending == "" && len(Shown[row.Name]) == 0 {
			t.Errorf("%s %s has no entry in Shown: name the tests of its work there", row.Kind, row.Name)
		}
	}
	for name, tests := range Shown {
		if !slices.ContainsFunc(Table, func(r Row) bool { return r.Name == name }) {
			t.Errorf("Shown has %s, which is no row", name)
		}
		for _, text := range tests {
			folder, test, _ := strings.Cut(strings.TrimSuffix(text, " rendered"), " ")
			if !declares(t, folder, test) {
				t.Errorf("%s: there is no %s in %s", name, test, folder)
			}
		}
	}
}

func declares(t *testing.T, folder, test string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../../..", folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		data, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(data), "func "+test+"(t *testing.T)")
	})
}
