package users

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const cheap = "$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

func TestParse(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"good":            {"users:\n- {name: ada@example.com, password: '" + cheap + "'}\n", ""},
		"empty":           {"", ""},
		"no hash":         {"users:\n- {name: ada, password: hunter2hunter2}\n", "password of ada is not an argon2id hash"},
		"expensive":       {"users:\n- {name: ada, password: '" + strings.Replace(cheap, "m=64", "m=4000000", 1) + "'}\n", "costs too much"},
		"no work":         {"users:\n- {name: ada, password: '" + strings.Replace(cheap, "t=1", "t=0", 1) + "'}\n", "is none"},
		"name":            {"users:\n- {name: 'a b', password: '" + cheap + "'}\n", `name "a b": want`},
		"twice":           {"users:\n- {name: ada, password: '" + cheap + "'}\n- {name: ADA, password: '" + cheap + "'}\n", `users[1]: name "ADA" is there twice`},
		"unknown field":   {"users:\n- {name: ada, passwd: x}\n", `unknown field "passwd"`},
		"object id":       {"users:\n- {name: ada, objectId: x, password: '" + cheap + "'}\n", `objectId of ada is "x": want a GUID`},
		"same object ids": {"users:\n- {name: ada, password: '" + cheap + "'}\n- {name: eve, objectId: " + (User{Name: "ada"}).ObjectID() + ", password: '" + cheap + "'}\n", "eve has the objectId of ada"},
	} {
		_, err := Parse([]byte(c.text))
		if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFile: passwords count as soon as the file is written, and users that are taken out are gone.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yaml")
	set := func(name, password string) {
		t.Helper()
		h, err := Hash(password)
		if err != nil {
			t.Fatal(err)
		}
		if err := Edit(path, func([]User) ([]User, error) { return []User{{Name: name, Password: h}}, nil }); err != nil {
			t.Fatal(err)
		}
	}
	set("Ada@example.com", "correct horse")
	f, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := f.Check("ada@EXAMPLE.com", "correct horse"); !ok || u.Title() != "Ada@example.com" {
		t.Errorf("right password: %+v %v", u, ok)
	}
	for name, password := range map[string]string{"ada@example.com": "wrong horse!", "eve": "correct horse", "": ""} {
		if _, ok := f.Check(name, password); ok {
			t.Errorf("%q signed in with %q", name, password)
		}
	}
	set("ada@example.com", "battery staple")
	if _, ok := f.Check("ada@example.com", "correct horse"); ok {
		t.Error("the former password is good")
	}
	if _, ok := f.Check("ada@example.com", "battery staple"); !ok {
		t.Error("the new password is not")
	}
	if err := os.WriteFile(path, []byte("users: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.Find("ada@example.com"); !ok {
		t.Error("a file that does not read ended its users")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.Find("ada@example.com"); ok {
		t.Error("a file that is gone has users")
	}
	if fi, err := os.Stat(filepath.Dir(path)); err != nil || !fi.IsDir() {
		t.Fatal(err)
	}
}

func TestHash(t *testing.T) {
	if _, err := Hash("short"); err == nil || strings.Contains(err.Error(), "short") {
		t.Errorf("a short password: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("users:\n- {name: ada, password: '" + cheap + "'}\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := Parse([]byte(text))
		if err != nil {
			return
		}
		for _, u := range all {
			if u.ObjectID() == "" || u.Title() == "" {
				t.Errorf("%+v", u)
			}
		}
	})
}
