package hostpkg

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestEnsure(t *testing.T) {
	needs := []Need{{"runc", "runc"}, {CNIDir + "/bridge", "containernetworking-plugins"}, {CNIDir + "/portmap", "containernetworking-plugins"}}
	tests := map[string]struct {
		os, release string
		uid         int
		present     []string
		installErr  error
		installs    string
		wantErr     []string // every part must be in the message; none: no error
	}{
		"all there":            {os: "linux", present: []string{"runc", CNIDir + "/bridge", CNIDir + "/portmap"}},
		"installs as root":     {os: "linux", release: "ID=debian\n", present: []string{"runc"}, installs: "containernetworking-plugins"},
		"ubuntu by likeness":   {os: "linux", release: "ID=pop\nID_LIKE=\"ubuntu debian\"\n", installs: "runc containernetworking-plugins"},
		"not root":             {os: "linux", uid: 1000, wantErr: []string{"root", "runc containernetworking-plugins", "sudo", "--kubeconfig"}},
		"not root, all there":  {os: "linux", uid: 1000, present: []string{"runc", CNIDir + "/bridge", CNIDir + "/portmap"}, wantErr: []string{"root", "--kubeconfig"}},
		"not Linux":            {os: "darwin", wantErr: []string{"Linux", "darwin", "--kubeconfig"}},
		"another distribution": {os: "linux", release: "ID=alpine\n", wantErr: []string{"runc", CNIDir, "--kubeconfig"}},
		"installing fails":     {os: "linux", release: "ID=debian\n", installErr: errors.New("no network"), wantErr: []string{"no network", "--kubeconfig"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			present := slices.Clone(tt.present)
			var installed string
			h := Host{
				OS: tt.os, UID: tt.uid, Release: func() string { return tt.release },
				Exists: func(f string) bool { return slices.Contains(present, f) },
				Install: func(_ context.Context, packages []string, _ io.Writer) error {
					installed = strings.Join(packages, " ")
					for _, n := range needs {
						present = append(present, n.File)
					}
					return tt.installErr
				},
			}
			var out bytes.Buffer
			err := h.Ensure(t.Context(), needs, &out)
			if (err != nil) != (len(tt.wantErr) > 0) {
				t.Fatalf("error %v", err)
			}
			for _, part := range tt.wantErr {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
			if tt.wantErr == nil && installed != tt.installs {
				t.Errorf("installed %q, want %q", installed, tt.installs)
			}
			if tt.installs != "" && !strings.Contains(out.String(), tt.installs) {
				t.Errorf("said %q, want the packages named", out.String())
			}
		})
	}
}
