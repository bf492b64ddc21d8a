package bench

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/internal/testing/kubetest"
	"fairlead.dev/fairlead/internal/testing/load"
	"fairlead.dev/fairlead/internal/testing/pgtest"
	"fairlead.dev/fairlead/internal/testing/serverproc"
)

// command is what the jobs of both systems run.
var command = strings.Repeat("python train.py --epochs 3; ", 10)

// BenchmarkSubmit measures submits that are durable when they are answered. The peer is what training operators on plain
// Kubernetes do at a submit: they make an object in the API server; here a Job, by the same generator, with etcd's files synced.
func BenchmarkSubmit(b *testing.B) {
	b.Run("SQLite", func(b *testing.B) { benchSubmit(b, startServer(b, "sqlite")) })
	b.Run("PostgreSQL", func(b *testing.B) { benchSubmit(b, startServer(b, pgtest.Start(b).NewDatabase(b))) })
	b.Run("Kubernetes", benchKubernetes)
}

func benchSubmit(b *testing.B, s *server) {
	ws := s.lab(b)
	bothLoads(b, []int{s.PID}, func(b *testing.B, n int64) error {
		name := fmt.Sprintf("bench-%d", n)
		_, err := s.Do(b.Context(), http.MethodPut, ws+"/jobs/"+name+serverproc.APIVersion, fmt.Sprintf(
			`{"properties":{"jobType":"Command","displayName":%q,"experimentName":"bench","command":%q,"environmentId":"azureml:e:1","computeId":"k8s"}}`, name, command))
		return err
	})
}

func benchKubernetes(b *testing.B) {
	cluster := kubetest.StartDurable(b)
	conf, err := rest.TLSConfigFor(cluster.Config)
	if err != nil {
		b.Fatal(err)
	}
	c := serverproc.NewClient(b, cluster.Config.Host, conf, load.Senders)
	bothLoads(b, cluster.Processes, func(b *testing.B, n int64) error {
		_, err := c.Do(b.Context(), http.MethodPost, "/apis/batch/v1/namespaces/default/jobs", fmt.Sprintf(
			`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"bench-%d"},"spec":{"backoffLimit":0,"template":{"spec":{"restartPolicy":"Never","containers":[`+
				`{"name":"main","image":"docker.io/library/python:3","command":["sh","-c",%q],"resources":{"requests":{"cpu":"1","memory":"2Gi"}}}]}}}}`, n, command))
		return err
	})
}

// bothLoads is a closed loop, the most a system does, and a constant 500 a second, which the promise is about. The processor time that
// the system's processes use for a submit depends least on what else the machine does.
func bothLoads(b *testing.B, processes []int, submit func(b *testing.B, n int64) error) {
	var n atomic.Int64
	run := func(name string, rate int) {
		b.Run(name, func(b *testing.B) {
			before := cpu(b, processes...)
			load.Run(b, rate, "submits/s", func() error { return submit(b, n.Add(1)) })
			b.ReportMetric(float64((cpu(b, processes...)-before).Microseconds())/1000/float64(b.N), "cpu-ms/submit")
		})
	}
	run("closed loop", 0)
	run("500 a second", 500)
}
