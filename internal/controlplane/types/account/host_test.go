package account

import "testing"

func TestFromHost(t *testing.T) {
	for name, c := range map[string]struct{ host, suffix, want string }{
		"a port that is not the suffix's": {"fl12.blob.localhost:9", "localhost:8443", "fl12"},
		"capitals and a last dot":         {"FL12.BLOB.Fairlead.Example.", "fairlead.example", "fl12"},
		"another suffix":                  {"fl12.blob.evil.example", "fairlead.example", ""},
		"an ending that is no suffix":     {"fl12.blob.notfairlead.example", "fairlead.example", ""},
		"two labels before it":            {"x.fl12.blob.fairlead.example", "fairlead.example", ""},
		"no suffix":                       {"fl12.blob.", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := FromHost(c.host, c.suffix); ok != (c.want != "") || ok && got != c.want {
				t.Errorf("got %q, %v; want %q", got, ok, c.want)
			}
		})
	}
}
