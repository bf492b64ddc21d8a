// Command guide writes the users' guide to the extension's settings from their table.
package main

import (
	"flag"
	"log"
	"os"

	"fairlead.dev/fairlead/internal/extensionsettings"
)

func main() {
	out := flag.String("o", "", "`file` to write")
	flag.Parse()
	if err := os.WriteFile(*out, []byte(extensionsettings.Guide()), 0o644); err != nil {
		log.Fatal(err)
	}
}
