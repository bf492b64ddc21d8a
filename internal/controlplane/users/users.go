// Package users is the file of people who sign in with a password: a YAML list, which the server reads again when it changes.
//
//	users:
//	- name: ada@example.com
//	  displayName: Ada
//	  password: $argon2id$v=19$m=19456,t=2,p=1$…   # as "fairlead server users add" writes it
package users

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/alexedwards/argon2id"
	"github.com/google/uuid"
	"sigs.k8s.io/yaml"
)

// MinPassword is the least length of a password, in bytes.
const MinPassword = 10

// User is one entry.
type User struct {
	// Name is what the person signs in with, in any case; often an e-mail address.
	Name string `json:"name"`
	// DisplayName is shown to others; "" is Name.
	DisplayName string `json:"displayName,omitempty"`
	// ID is the object id that roles are assigned to; "" derives it from Name, so a file that is written anew keeps it.
	ID string `json:"objectId,omitempty"`
	// Password is the argon2id hash in PHC form.
	Password string `json:"password"`
}

// ObjectID is the id that roles are assigned to.
func (u User) ObjectID() string {
	if u.ID != "" {
		return strings.ToLower(u.ID)
	}
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("fairlead/users/"+strings.ToLower(u.Name))).String()
}

// Title is what others see.
func (u User) Title() string {
	if u.DisplayName != "" {
		return u.DisplayName
	}
	return u.Name
}

// Cost of a hash: OWASP's second profile for argon2id.
var cost = &argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// maxMemory bounds what a hash in the file may ask for at every check, in KiB.
const maxMemory, maxIterations = 256 << 10, 16

// Hash is the hash of a password for the file.
func Hash(password string) (string, error) {
	if len(password) < MinPassword {
		return "", fmt.Errorf("the password has %d characters; it must have at least %d", len(password), MinPassword)
	}
	return argon2id.CreateHash(password, cost)
}

// Matches reports whether a password is the user's.
func (u User) Matches(password string) bool {
	ok, err := argon2id.ComparePasswordAndHash(password, u.Password)
	return err == nil && ok
}

// nobody takes as long to check as a user, so that time does not tell which names exist.
var nobody = User{Password: "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}

type document struct {
	Users []User `json:"users"`
}

var nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+@-]{0,127}$`)

func (u User) check() error {
	if !nameRule.MatchString(u.Name) {
		return fmt.Errorf("name %q: want up to 128 letters, digits and . _ + @ -, such as ada@example.com", u.Name)
	}
	if u.ID != "" && uuid.Validate(u.ID) != nil {
		return fmt.Errorf("objectId of %s is %q: want a GUID, or leave it out", u.Name, u.ID)
	}
	p, _, _, err := argon2id.DecodeHash(u.Password)
	if err != nil { // the hash is not repeated: a password may stand there by mistake
		return fmt.Errorf("password of %s is not an argon2id hash; make one with 'fairlead server users add'", u.Name)
	}
	if p.Iterations < 1 || p.Parallelism < 1 || p.SaltLength < 8 || p.KeyLength < 16 {
		return fmt.Errorf("password of %s: a hash with t=%d, p=%d, %d bytes of salt and %d of key is none; make one with 'fairlead server users add'", u.Name, p.Iterations, p.Parallelism, p.SaltLength, p.KeyLength)
	}
	if p.Memory > maxMemory || p.Iterations > maxIterations || int(p.Parallelism) > max(runtime.NumCPU(), 4) {
		return fmt.Errorf("password of %s: m=%d,t=%d,p=%d costs too much at every sign-in; at most m=%d,t=%d", u.Name, p.Memory, p.Iterations, p.Parallelism, maxMemory, maxIterations)
	}
	return nil
}

// Parse reads the file's text. The error names entry, value and what is wanted.
func Parse(text []byte) ([]User, error) {
	var d document
	if err := yaml.UnmarshalStrict(text, &d); err != nil {
		return nil, fmt.Errorf("reading users: %w", err)
	}
	names, ids := map[string]bool{}, map[string]string{}
	for i, u := range d.Users {
		if err := u.check(); err != nil {
			return nil, fmt.Errorf("users[%d]: %w", i, err)
		}
		low := strings.ToLower(u.Name)
		if names[low] {
			return nil, fmt.Errorf("users[%d]: name %q is there twice", i, u.Name)
		}
		if other := ids[u.ObjectID()]; other != "" {
			return nil, fmt.Errorf("users[%d]: %s has the objectId of %s", i, u.Name, other)
		}
		names[low], ids[u.ObjectID()] = true, u.Name
	}
	return d.Users, nil
}

// Edit changes the file in one step, mode 0600; a file that is not there is made.
func Edit(file string, change func([]User) ([]User, error)) error {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading users: %w", err)
	}
	all, err := Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if all, err = change(slices.Clone(all)); err != nil {
		return err
	}
	out, err := yaml.Marshal(document{all})
	if err != nil {
		return fmt.Errorf("encoding users: %w", err)
	}
	if _, err := Parse(out); err != nil {
		return err
	}
	return replace(file, out)
}

func replace(file string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".users-*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing users: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("writing users: %w", err)
	}
	return nil
}
