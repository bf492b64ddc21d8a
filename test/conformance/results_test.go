package conformance

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// result is how one step of a client ended. Limit says of a step that it shows what is not there, and why.
type result struct {
	Operation string `json:"operation"`
	OK        bool   `json:"ok"`
	Limit     string `json:"limit,omitempty"`
	Detail    string `json:"detail,omitempty"`
}

const (
	resultsFile = "testdata/results.json"
	docsFile    = "../../docs/clients.md"
	tableBegin  = "<!-- table: go test -tags conformance ./test/conformance -update -->\n"
	tableEnd    = "<!-- end of table -->\n"
)

// record compares what a client could do with what is kept, or keeps it.
func record(t *testing.T, client string, got []result) {
	t.Helper()
	kept := readResults(t)
	if *update {
		kept[client] = got
		raw, err := json.MarshalIndent(kept, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, resultsFile, string(raw)+"\n")
		head, _, tail := docs(t)
		writeFile(t, docsFile, head+table(kept)+tail)
		return
	}
	if !slices.Equal(kept[client], got) {
		t.Errorf("%s: other results than %s has; run with -update:\n%v\n%v", client, resultsFile, got, kept[client])
	}
}

// TestTable: the users' table says what the last run found.
func TestTable(t *testing.T) {
	if *update {
		head, _, tail := docs(t)
		writeFile(t, docsFile, head+table(readResults(t))+tail)
	}
	if _, is, _ := docs(t); is != table(readResults(t)) {
		t.Errorf("the table in %s is not that of %s; run a client's test with -update", docsFile, resultsFile)
	}
}

func readResults(t *testing.T) map[string][]result {
	t.Helper()
	out := map[string][]result{}
	raw, err := os.ReadFile(resultsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return out
	}
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// docs is the users' page: before the table, the table, behind it.
func docs(t *testing.T) (head, is, tail string) {
	t.Helper()
	raw, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(raw), tableBegin)
	is, tail, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has not %q and %q", docsFile, tableBegin, tableEnd)
	}
	return head + tableBegin, is, tableEnd + tail
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// onCluster follows a client's name where it is run against a real cluster; its results stand in the client's column.
const onCluster = ", on a cluster"

// columns is the order of clients in the table.
var columns = []string{"azure-mgmt (Python)", "azure-ai-ml (Python)", "azureml-core (Python)", "@azure (JavaScript)", "azure-sdk-for-go", "azure-cli", "mlflow"}

// column is the client of a run.
func column(run string) string { return strings.TrimSuffix(run, onCluster) }

// table has a row for each operation and a column for each client, and says below it why something is not there.
func table(all map[string][]result) string {
	cells, rows, limits := map[string]string{}, []string{}, []string{}
	runs := slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		return cmp.Or(cmp.Compare(slices.Index(columns, column(a)), slices.Index(columns, column(b))), strings.Compare(a, b))
	})
	var clients []string
	for _, run := range runs {
		client := column(run)
		if !slices.Contains(clients, client) {
			clients = append(clients, client)
		}
		for _, r := range all[run] {
			if !slices.Contains(rows, r.Operation) {
				rows = append(rows, r.Operation)
			}
			cell := "✓"
			if r.Limit != "" {
				cell = "no"
				limits = append(limits, fmt.Sprintf("* %s, %s: %s\n", client, r.Operation, r.Limit))
			}
			cells[client+"\x00"+r.Operation] = cell
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| operation | %s |\n|---%s|\n", strings.Join(clients, " | "), strings.Repeat("|:---:", len(clients)))
	for _, row := range rows {
		fmt.Fprintf(&b, "| %s |", row)
		for _, client := range clients {
			fmt.Fprintf(&b, " %s |", cells[client+"\x00"+row])
		}
		b.WriteString("\n")
	}
	if len(limits) > 0 {
		b.WriteString("\n" + strings.Join(limits, ""))
	}
	return b.String()
}
