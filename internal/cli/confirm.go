package cli

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// ask puts a yes-or-no question to the person at the terminal.
func (a *app) ask(question string) error {
	in, ok := a.deps.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return usagef("unable to prompt for confirmation as no tty available; use --yes")
	}
	fmt.Fprintf(a.deps.Stderr, "%s (y/n): ", question)
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	a.note("Operation cancelled.")
	return &exitError{exitFailed}
}
