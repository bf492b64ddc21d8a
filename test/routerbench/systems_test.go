package routerbench

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/template"
)

//go:embed testdata
var templates embed.FS

// config is what every system is told.
type config struct {
	HTTP, HTTPS, HTTPPort, HTTPSPort, Host string
	// Blue gets 90 of 100 requests, Green 10.
	Blue, Green           string
	Key, Cert, PrivateKey string
	// Both is the file with certificate and key.
	Both, Dir string
}

// system is one proxy under test.
type system struct {
	name string
	// files are made of the templates of the same names.
	files []string
	// command starts it; nil is ours, which a cluster tells what to do.
	command func(c config) []string
}

var systems = []system{
	{name: "Fairlead"},
	{"ReverseProxy", nil, func(c config) []string {
		text, _ := json.Marshal(c)
		return []string{os.Args[0], "plain", string(text)}
	}},
	{"nginx", []string{"nginx.conf"}, func(c config) []string {
		return []string{"nginx", "-p", c.Dir, "-e", "stderr", "-c", filepath.Join(c.Dir, "nginx.conf")}
	}},
	{"HAProxy", []string{"haproxy.cfg"}, func(c config) []string { return []string{"haproxy", "-db", "-f", filepath.Join(c.Dir, "haproxy.cfg")} }},
	{"Caddy", []string{"Caddyfile"}, func(c config) []string {
		return []string{peer("caddy"), "run", "--adapter", "caddyfile", "--config", filepath.Join(c.Dir, "Caddyfile")}
	}},
	{"Traefik", []string{"traefik.yml", "routes.yml"}, func(c config) []string {
		return []string{peer("traefik"), "--configFile=" + filepath.Join(c.Dir, "traefik.yml")}
	}},
}

// peer is the path of a peer that was built from its module.
func peer(name string) string {
	dir, _ := filepath.Abs("../../out/routerpeers")
	return filepath.Join(dir, name)
}

// missing says which program of a system is not on this machine.
func (s *system) missing() string {
	if s.command == nil {
		return ""
	}
	if program := s.command(config{})[0]; exec.Command("test", "-x", program).Run() != nil {
		if _, err := exec.LookPath(program); err != nil {
			return program
		}
	}
	return ""
}

func (s *system) start(b *testing.B, c config) *os.Process {
	b.Helper()
	for _, file := range s.files {
		text, err := templates.ReadFile("testdata/" + file)
		if err != nil {
			b.Fatal(err)
		}
		var out bytes.Buffer
		if err := template.Must(template.New(file).Parse(string(text))).Execute(&out, c); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.Dir, file), out.Bytes(), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return run(b, s.name, 0, nil, s.command(c)...)
}

// run starts a program on one processor, with what it says in a file that is shown when the benchmark fails.
func run(b *testing.B, name string, processor int, env []string, command ...string) *os.Process {
	b.Helper()
	output, err := os.Create(filepath.Join(b.TempDir(), name+".log"))
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("taskset", append([]string{"-c", strconv.Itoa(processor)}, command...)...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Env = append(append(os.Environ(), "GOMAXPROCS=1"), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		b.Fatalf("starting %s: %v", name, err)
	}
	b.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if text, err := os.ReadFile(output.Name()); err == nil && b.Failed() {
			b.Logf("%s said:\n%.4000s", name, text)
		}
		output.Close()
	})
	return cmd.Process
}

// children are the processes that a process has started.
func children(pid int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		if fields := fieldsOf(stat); len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
			pids = append(pids, child)
		}
	}
	return pids
}

// processorTime is what a process and its children have used, in ticks of 10 ms.
func processorTime(pid int) (ticks int) {
	for _, pid := range append(children(pid), pid) {
		if fields := fieldsOf(fmt.Sprintf("/proc/%d/stat", pid)); len(fields) > 12 {
			user, _ := strconv.Atoi(fields[11])
			system, _ := strconv.Atoi(fields[12])
			ticks += user + system
		}
	}
	return ticks
}

// fieldsOf are those of a process's stat file that follow its name.
func fieldsOf(stat string) []string {
	text, err := os.ReadFile(stat)
	if err != nil {
		return nil // It has ended.
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
}
