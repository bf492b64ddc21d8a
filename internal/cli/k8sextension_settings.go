package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/extensionsettings"
)

// settingsFlags are the settings of a command line, each kind as texts or as a file.
type settingsFlags struct {
	plain, protected         []string
	plainFile, protectedFile string
}

// register defines every spelling of the flags that the reference has.
func (f *settingsFlags) register(c *cobra.Command) {
	fs := c.Flags()
	for _, kind := range []struct {
		prefix, usage string
		texts         *[]string
		file          *string
	}{
		{"config", "space-separated `key=value` settings", &f.plain, &f.plainFile},
		{"config-protected", "space-separated `key=value` settings that are kept secret; sslCertPemFile and sslKeyPemFile are files here", &f.protected, &f.protectedFile},
	} {
		long := strings.Replace(kind.prefix, "config", "configuration", 1) + "-settings"
		for _, name := range []string{long, kind.prefix, kind.prefix + "-settings"} {
			multiVar(fs, kind.texts, name, kind.usage)
		}
		for _, name := range []string{kind.prefix + "-file", kind.prefix + "-settings-file", long + "-file"} {
			fs.StringVar(kind.file, name, "", "JSON `file` with an object of such settings, instead of --"+long)
		}
		for _, name := range []string{kind.prefix + "-settings", kind.prefix + "-settings-file", long + "-file"} {
			_ = fs.MarkHidden(name)
		}
	}
}

// givesProtected reports whether protected settings were given, perhaps none of them to take all away.
func (f settingsFlags) givesProtected() bool { return len(f.protected) > 0 || f.protectedFile != "" }

// readSettings reads the settings, corrects what the reference's own pages misspell and reads the PEM files.
func (a *app) readSettings(f settingsFlags) (s extensionsettings.Settings, err error) {
	if s.Plain, err = readKind("configuration-settings", f.plain, f.plainFile); err != nil {
		return s, err
	}
	if s.Protected, err = readKind("configuration-protected-settings", f.protected, f.protectedFile); err != nil {
		return s, err
	}
	if v := s.Plain["allowInsecureConnections"]; strings.EqualFold(v, "Ture") {
		a.warn("reading allowInsecureConnections=%s as True", v)
		s.Plain["allowInsecureConnections"] = "True"
	}
	if err := s.CheckEach().Err(); err != nil {
		return s, usagef("%v", err)
	}
	return s, readPEMs(s.Protected)
}

// readKind reads the settings of one kind.
func readKind(flag string, texts []string, file string) (map[string]string, error) {
	if file == "" {
		return keyValues("--"+flag, texts)
	}
	if len(texts) > 0 {
		return nil, usagef("Both %s and %s-file cannot be provided.", flag, flag)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, usagef("argument --%s-file: %v", flag, err)
	}
	var values map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&values); err != nil {
		return nil, usagef("argument --%s-file: %q is not a JSON object: %v", flag, file, err)
	}
	out, problems := extensionsettings.Texts(values, false)
	if err := problems.Err(); err != nil {
		return nil, usagef("argument --%s-file: %q: %v", flag, file, err)
	}
	return out, nil
}

// readPEMs replaces the names of the two files by base64 of what is in them.
func readPEMs(protected map[string]string) error {
	for name, sent := range map[string]string{"sslCertPemFile": "scoringFe.sslCert", "sslKeyPemFile": "scoringFe.sslKey"} {
		path := protected[name]
		delete(protected, name)
		if path == "" {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return usagef("argument --configuration-protected-settings: %s: %v", name, err)
		}
		protected[sent] = base64.StdEncoding.EncodeToString(data)
	}
	return nil
}

// checkSettings refuses settings that the control plane would refuse, before anything is sent, and names those given that have no
// effect.
func (a *app) checkSettings(s, given extensionsettings.Settings, o extensionsettings.Options) error {
	o.Now = time.Now()
	if err := s.Validate(o).Err(); err != nil {
		return usagef("%v", err)
	}
	for _, line := range given.Idle() {
		a.warn("%s", line)
	}
	return nil
}
