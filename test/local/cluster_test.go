//go:build cluster

package local

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/local"
	"fairlead.dev/fairlead/internal/local/image"
	"fairlead.dev/fairlead/internal/local/kernel"
)

// webManifest is a web server in %d pods behind a Service; its answers are the pods' names.
const webManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: web
        image: fairlead/python-ml:bookworm
        command:
        - python3
        - -c
        - |
          import http.server, os
          class H(http.server.BaseHTTPRequestHandler):
              def do_GET(s):
                  s.send_response(200); s.end_headers(); s.wfile.write(os.uname().nodename.encode())
          http.server.HTTPServer(('', 8000), H).serve_forever()
        readinessProbe: {httpGet: {path: /, port: 8000}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8000}]}
`

// askManyTimes is run in a pod: it resolves the Service and prints how many different pods answered 60 requests.
const askManyTimes = `
import socket, urllib.request
print(socket.gethostbyname('web.default.svc.cluster.local'))
print(len({urllib.request.urlopen('http://web/', timeout=10).read() for _ in range(60)}))
`

func needPython(t *testing.T, cacheDir string) {
	t.Helper()
	d, err := image.FindDebian("python-ml")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := d.Cached(cacheDir); !ok {
		t.Fatalf("image %s is not made; run make cluster first", d.Ref)
	}
}

func (c *cluster) status() local.Status {
	c.t.Helper()
	var s local.Status
	if err := json.Unmarshal([]byte(c.run("status", "-o", "json")), &s); err != nil {
		c.t.Fatal(err)
	}
	return s
}

// web waits until all pods of the web server are ready and checks from inside one of them that each answers by the
// Service's name.
func (c *cluster) web(pods int) {
	c.t.Helper()
	c.eventually("the web server's pods", func() (string, bool) {
		out, err := c.try("kubectl", "get", "deployment", "web", "-o", "jsonpath={.status.availableReplicas} {.status.unavailableReplicas}")
		return out, err == nil && strings.TrimSpace(out) == strconv.Itoa(pods)
	})
	c.eventually("an answer of every pod", func() (string, bool) {
		pod, err := c.try("kubectl", "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}")
		if err != nil {
			return pod, false
		}
		out, err := c.try("kubectl", "exec", pod, "--", "python3", "-c", askManyTimes)
		f := strings.Fields(out)
		return out, err == nil && len(f) == 2 && f[1] == strconv.Itoa(pods)
	})
}

// pids are the processes of the components.
func (c *cluster) pids() map[string]int {
	out := map[string]int{}
	for _, p := range c.status().Components {
		out[p.Name] = p.PID
	}
	return out
}

func kill(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			t.Fatal(err)
		}
	}
}

func TestOneNode(t *testing.T) {
	c := newCluster(t)
	before := lookAt(t, string(c.folder))
	start := time.Now()
	c.up()
	t.Logf("ready after %s", time.Since(start).Round(100*time.Millisecond))
	config, err := local.LoadConfig(c.folder)
	if err != nil {
		t.Fatal(err)
	}
	needPython(t, config.CacheDir)
	c.apply(fmt.Sprintf(webManifest, 2))
	c.web(2)

	t.Run("up again changes nothing", func(t *testing.T) {
		pids := c.pids()
		c.up()
		for name, pid := range c.pids() {
			if pids[name] != pid {
				t.Errorf("%s was restarted", name)
			}
		}
	})
	t.Run("killed components come back", func(t *testing.T) {
		old := c.pids()
		for _, pid := range old {
			kill(t, pid)
		}
		c.eventually("all components", func() (string, bool) {
			s := c.status()
			for _, p := range s.Components {
				if p.PID == old[p.Name] || p.State != "Running" {
					return p.Name, false
				}
			}
			return fmt.Sprint(s.Problems), s.Ready
		})
		c.web(2)
		if out := c.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}"); out != "0 0" {
			t.Errorf("restarts of pods %q: containers must outlive the components", out)
		}
	})
	t.Run("a new supervisor takes over", func(t *testing.T) {
		old := c.pids()
		killSupervisor(t, c)
		if s := c.status(); s.Ready || s.Supervisor != "Stopped" {
			t.Errorf("status %+v without a supervisor", s)
		}
		c.up()
		for name, pid := range c.pids() {
			if old[name] != pid {
				t.Errorf("%s was restarted", name)
			}
		}
	})
	t.Run("all is back after everything was killed", func(t *testing.T) {
		killSupervisor(t, c)
		if err := kernel.ScopeOf(string(c.folder)).KillAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.up()
		c.web(2)
	})
	t.Run("down and up again with its data", func(t *testing.T) {
		c.run("down", "--keep-data")
		if now := lookAt(t, string(c.folder)); len(now["processes"]) > 0 || len(now["cgroups"]) > 0 {
			t.Errorf("left behind: %q %q", now["processes"], now["cgroups"])
		}
		c.up()
		c.web(2)
	})
	t.Run("down leaves nothing", func(t *testing.T) {
		c.run("down")
		before.same(t, lookAt(t, string(c.folder)))
		if out := c.run("down"); !strings.Contains(out, "no local cluster") {
			t.Errorf("down without a cluster says %q", out)
		}
	})
}

// killSupervisor kills the supervisor alone.
func killSupervisor(t *testing.T, c *cluster) {
	t.Helper()
	pids, err := kernel.ScopeOf(string(c.folder)).Processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if isSupervisor(pid) {
			kill(t, pid)
			c.eventually("the supervisor's end", func() (string, bool) { return "", c.status().Supervisor == "Stopped" })
			return
		}
	}
	t.Fatal("no supervisor runs")
}

func TestThreeNodes(t *testing.T) {
	c := newCluster(t)
	before := lookAt(t, string(c.folder))
	c.up("--nodes", "2")
	c.up("--nodes", "3")
	if nodes := c.status().Nodes; len(nodes) != 3 {
		t.Errorf("nodes %v", nodes)
	}
	c.apply(fmt.Sprintf(webManifest, 6))
	c.web(6)
	used := strings.Fields(c.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.nodeName}"))
	count := map[string]int{}
	for _, n := range used {
		count[n]++
	}
	if len(count) != 3 {
		t.Errorf("pods on %v, want all three nodes", count)
	}
	c.run("down")
	before.same(t, lookAt(t, string(c.folder)))
}
