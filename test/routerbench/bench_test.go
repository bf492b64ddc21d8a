package routerbench

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/router/routertest"
	"fairlead.dev/fairlead/internal/testing/certtest"
	"fairlead.dev/fairlead/internal/testing/freeport"
)

var (
	quick   = flag.Bool("quick", false, "two minutes instead of eleven: fewer scenarios, measured for shorter")
	only    = flag.String("only", "", "systems to measure, separated by commas")
	profile = flag.String("profile", "", "file for a profile of the router's processor time")
)

// TestMain also is the program of the models and of the standard library's proxy, which have processes of their own.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "models":
			runModels(os.Args[2:])
			return
		case "callers":
			runCallers(os.Args[2:])
			return
		case "plain":
			var c config
			if err := json.Unmarshal([]byte(os.Args[2]), &c); err != nil {
				panic(err)
			}
			runPlain(c)
			return
		}
	}
	os.Exit(m.Run())
}

// scenario is one row: the size of request and answer, what the model takes, and how requests come.
type scenario struct {
	secure            bool
	size, delay, rate int // without a rate in a closed loop
	quick             bool
}

// scenarios: sizes and delays over both protocols, as fast as it goes and 1000 times a second; and both protocols at three rates.
func scenarios() (asFast, atRates []scenario) {
	for _, secure := range []bool{false, true} {
		for _, size := range []int{1 << 10, 20 << 10} {
			for _, delay := range []int{0, 5} {
				plain := size == 1<<10 && delay == 0
				s := scenario{secure: secure, size: size, delay: delay, quick: plain}
				asFast = append(asFast, s)
				for _, s.rate = range []int{500, 1000, 2500} {
					if s.quick = plain && s.rate == 1000; plain || s.rate == 1000 {
						atRates = append(atRates, s)
					}
				}
			}
		}
	}
	if *quick {
		all := func(s scenario) bool { return !s.quick }
		return slices.DeleteFunc(asFast, all), slices.DeleteFunc(atRates, all)
	}
	return asFast, atRates
}

// BenchmarkRouter prints tables in Markdown: of the closed loop, of constant rates, and of connections that are idle.
func BenchmarkRouter(b *testing.B) {
	c := setUp(b)
	started := start(b, c)
	lasting, idle := 2*time.Second, 10000
	if *quick {
		lasting, idle = time.Second, 1000
	}
	asFast, atRates := scenarios()
	fmt.Printf("\nAs fast as 64 connections go, 256 where models take 5 ms:\n")
	closedTable(b, asFast, started, c, lasting)
	fmt.Printf("\nAt a constant rate over %d connections, by when requests were due:\n", connections)
	openTables(b, atRates, started, c, 2*lasting)
	fmt.Printf("\nMemory of the process alone, without the kernel's buffers:\n")
	memoryTable(b, started, c, idle)
	endProfile(b, started)
}

func (s scenario) String() string {
	kind := "HTTP"
	if s.secure {
		kind = "HTTPS"
	}
	text := fmt.Sprintf("%s %d KB, models %d ms", kind, s.size>>10, s.delay)
	if s.rate > 0 {
		text += fmt.Sprintf(", %d/s", s.rate)
	}
	return text
}

// target is a proxy that runs.
type target struct {
	name   string
	pid    int
	config config
}

// setUp starts the models and writes what all systems share.
func setUp(b *testing.B) config {
	b.Helper()
	c := config{Dir: b.TempDir(), Host: "127.0.0.1", Key: routertest.Key("one")}
	models := address(b)
	c.Blue, c.Green = net.JoinHostPort(models, port(b)), net.JoinHostPort(models, port(b))
	cert, key, err := certtest.Pair(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "localhost", "127.0.0.1")
	if err != nil {
		b.Fatal(err)
	}
	write := func(name string, data []byte) string {
		path := filepath.Join(c.Dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			b.Fatal(err)
		}
		return path
	}
	c.Cert, c.PrivateKey, c.Both = write("cert.pem", cert), write("key.pem", key), write("both.pem", slices.Concat(cert, key))
	run(b, "models", 1, nil, os.Args[0], "models", c.Blue, c.Green)
	return c
}

// address is one of this machine that is not loopback, since pods cannot have such; what is sent to it does not leave the machine.
func address(b *testing.B) string {
	b.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		b.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	b.Fatal("this machine has no IPv4 address but loopback's, which the API server takes for no pod; give it one: ip address add 10.98.76.54/32 dev lo")
	return ""
}

func port(b *testing.B) string { return strconv.Itoa(freeport.Take(b)) }

// start runs every system that is on this machine and makes sure that it does what is measured.
func start(b *testing.B, c config) []target {
	b.Helper()
	var all []target
	for _, s := range systems {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), s.name) {
			continue
		}
		if program := s.missing(); program != "" {
			fmt.Printf("LEFT OUT: %s: there is no %s on this machine\n", s.name, program)
			continue
		}
		c.HTTPPort, c.HTTPSPort = port(b), port(b)
		c.HTTP, c.HTTPS = net.JoinHostPort(c.Host, c.HTTPPort), net.JoinHostPort(c.Host, c.HTTPSPort)
		var pid int
		if s.command == nil {
			k := cluster(b, c)
			pid = ours(b, c, k).Pid
			verify(b, s.name, c)
			freeze(k)
		} else {
			pid = s.start(b, c).Pid
			verify(b, s.name, c)
		}
		all = append(all, target{s.name, pid, c})
	}
	return all
}

// verify asks with and without the key.
func verify(b *testing.B, name string, c config) {
	b.Helper()
	wait(b, func() error {
		for _, key := range []string{c.Key, "another"} {
			req, _ := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://"+c.HTTP+path(1<<10, 0), strings.NewReader("x"))
			req.Header.Set("Authorization", "Bearer "+key)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			body, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if good := res.StatusCode == http.StatusOK && len(body) == 1<<10; good != (key == c.Key) {
				return fmt.Errorf("%s answers %s with key %q", name, res.Status, key)
			}
		}
		return nil
	})
}
