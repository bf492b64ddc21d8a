package controlplane

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"fairlead.dev/fairlead/internal/controlplane/users"
)

// usersCommand is "fairlead server users": who may sign in with a password. It edits the file, which running servers read again.
func usersCommand() *cobra.Command {
	var cfg Config
	c := &cobra.Command{
		Use: "users", Short: "Say who may sign in with a password",
		Long: "Edit the users file. Servers that run read it again by themselves; a new password, or none, ends the sign-ins of that user.",
	}
	fs := c.PersistentFlags()
	fs.StringVar(&cfg.DataDir, "data-dir", defaultDataDir(), "the server's data folder")
	fs.StringVar(&cfg.UsersFile, "users-file", "", "the users file (default: users.yaml in the data folder)")
	file := func() string {
		for flag, v := range map[string]*string{"data-dir": &cfg.DataDir, "users-file": &cfg.UsersFile} {
			if e, ok := os.LookupEnv(EnvName(flag)); ok && !fs.Changed(flag) {
				*v = e
			}
		}
		return cmp.Or(cfg.UsersFile, filepath.Join(cfg.DataDir, UsersFileName))
	}
	c.AddCommand(usersAdd(file), usersList(file), usersRemove(file))
	return c
}

func usersAdd(file func() string) *cobra.Command {
	var display string
	c := &cobra.Command{
		Use: "add NAME", Short: "Add a user, or give one a new password", Args: cobra.ExactArgs(1), SilenceUsage: true,
		Long: "Add a user, or give one a new password. The password is asked for, or read from standard input. Prints the object id, to which roles are assigned.",
		Example: `  fairlead server users add ada@example.com --display-name Ada
  pwgen 20 1 | fairlead server users add ada@example.com`,
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := readPassword(cmd.InOrStdin(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			hash, err := users.Hash(password)
			if err != nil {
				return err
			}
			u := users.User{Name: args[0], DisplayName: display, Password: hash}
			err = users.Edit(file(), func(all []users.User) ([]users.User, error) {
				i := indexOf(all, u.Name)
				if i < 0 {
					return append(all, u), nil
				}
				all[i].Password, all[i].DisplayName = hash, cmp.Or(display, all[i].DisplayName)
				u = all[i]
				return all, nil
			})
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), u.ObjectID())
			fmt.Fprintf(cmd.ErrOrStderr(), "%s can sign in. To let them do something: fairlead role assignment create --role Contributor --assignee %s -g GROUP\n", u.Name, u.ObjectID())
			return nil
		},
	}
	c.Flags().StringVar(&display, "display-name", "", "what others see")
	return c
}

func usersList(file func() string) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List users", Args: cobra.NoArgs, SilenceUsage: true, Example: "  fairlead server users list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := os.ReadFile(file())
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			all, err := users.Parse(text)
			if err != nil {
				return fmt.Errorf("%s: %w", file(), err)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "Name\tDisplayName\tObjectId")
			for _, u := range all {
				fmt.Fprintf(w, "%s\t%s\t%s\n", u.Name, u.DisplayName, u.ObjectID())
			}
			return w.Flush()
		},
	}
}

func usersRemove(file func() string) *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Remove a user; role assignments stay, for the same name", Args: cobra.ExactArgs(1), SilenceUsage: true,
		Long: `Remove a user. Role assignments stay, for the same name. Delete them, too, when the person has left: shared access signatures that the
person made are good for up to 7 days otherwise.`,
		Example: "  fairlead server users remove ada@example.com",
		RunE: func(_ *cobra.Command, args []string) error {
			return users.Edit(file(), func(all []users.User) ([]users.User, error) {
				i := indexOf(all, args[0])
				if i < 0 {
					return nil, fmt.Errorf("no user %q in %s", args[0], file())
				}
				return slices.Delete(all, i, i+1), nil
			})
		},
	}
}

func indexOf(all []users.User, name string) int {
	return slices.IndexFunc(all, func(u users.User) bool { return strings.EqualFold(u.Name, name) })
}

// readPassword asks at a terminal, twice and unseen, and else reads a line.
func readPassword(in io.Reader, out io.Writer) (string, error) {
	f, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		line, err := bufio.NewReader(in).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("reading the password: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	var typed [2]string
	for i, prompt := range []string{"Password: ", "Again: "} {
		fmt.Fprint(out, prompt)
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(out)
		if err != nil {
			return "", fmt.Errorf("reading the password: %w", err)
		}
		typed[i] = string(b)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two passwords differ")
	}
	return typed[0], nil
}
