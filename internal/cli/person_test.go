package cli_test

import (
	"regexp"

	"github.com/rogpeppe/go-internal/testscript"

	"fairlead.dev/fairlead/internal/testing/persontest"
)

func newPerson(caFile string) (persontest.Person, error) {
	return persontest.New(caFile, "ada@example.com", "correct horse")
}

var deviceMessage = regexp.MustCompile(`open the page (\S+) and enter the code (\S+) `)

// approve signs a device in whose message is in a file: approve file
func approve(ts *testscript.TestScript, _ bool, args []string) {
	p, err := newPerson(ts.Getenv("CA"))
	ts.Check(err)
	m := deviceMessage.FindStringSubmatch(ts.ReadFile(args[0]))
	if m == nil {
		ts.Fatalf("no code in %s", args[0])
	}
	ts.Check(p.Approve(m[1], m[2]))
}
