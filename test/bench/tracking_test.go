package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fairlead.dev/fairlead/internal/testing/freeport"
	"fairlead.dev/fairlead/internal/testing/load"
	"fairlead.dev/fairlead/internal/testing/pgtest"
	"fairlead.dev/fairlead/internal/testing/serverproc"
)

// mlflowEnv names a Python that has mlflow and psycopg2; scripts/bench makes one.
const mlflowEnv = "MLFLOW_PYTHON"

// seeded is how many runs are searched.
const seeded = 100_000

// tracker is a server with MLflow's API, and its database.
type tracker struct {
	serverproc.Client
	// prefix begins the API's paths.
	prefix string
	db     string
	// seed is the SQL that makes runs in an experiment, each with three parameters, three tags and three metrics.
	seed func(experiment string) []string
}

// trackers starts Fairlead and MLflow's own server on databases of one PostgreSQL server, which syncs every commit.
func trackers(b *testing.B, each func(b *testing.B, t *tracker)) {
	postgres := pgtest.Start(b, "max_connections=200")
	b.Run("Fairlead", func(b *testing.B) { each(b, fairleadTracker(b, postgres)) })
	b.Run("MLflow", func(b *testing.B) { each(b, mlflowTracker(b, postgres)) })
}

func fairleadTracker(b *testing.B, postgres *pgtest.Server) *tracker {
	dsn := postgres.NewDatabase(b)
	s := startServer(b, dsn)
	ws := s.group + "/providers/Microsoft.MachineLearningServices/workspaces/lab"
	if _, err := s.Do(b.Context(), http.MethodPut, s.group+serverproc.APIVersion, `{"location":"local"}`); err != nil {
		b.Fatal(err)
	}
	if _, err := s.Do(b.Context(), http.MethodPut, ws+serverproc.APIVersion, `{"location":"local","properties":{}}`); err != nil {
		b.Fatal(err)
	}
	account := s.account(b, ws)
	return &tracker{Client: s.Client, prefix: "/mlflow/v1.0" + ws + "/api/2.0/mlflow/", db: dsn, seed: func(experiment string) []string {
		return []string{
			fmt.Sprintf(`INSERT INTO tracked_runs (workspace, id, experiment, name, user_id, status, start_at, end_at, artifacts, deleted, job)
				SELECT '%s', md5(i::text), '%s', 'run ' || i, 'bench', 'FINISHED', i, i + 1, '', FALSE, '' FROM generate_series(1, %d) i`, account, experiment, seeded),
			`INSERT INTO tracked_params (run, key, value) SELECT seq, 'p' || j, (seq * j % 100)::text FROM tracked_runs, generate_series(1, 3) j`,
			`INSERT INTO tracked_tags (run, key, value) SELECT seq, 't' || j, 'value ' || (seq * j % 1000) FROM tracked_runs, generate_series(1, 3) j`,
			`INSERT INTO tracked_metrics (run, key, value, nan, step, at) SELECT seq, 'm' || j, (seq * j * 7919 % 100000) / 100000.0, FALSE, 1, 1 FROM tracked_runs, generate_series(1, 3) j`,
			`ANALYZE`,
		}
	}}
}

func mlflowTracker(b *testing.B, postgres *pgtest.Server) *tracker {
	python := os.Getenv(mlflowEnv)
	if python == "" {
		b.Fatalf("%s is not set; give the path of a Python with mlflow and psycopg2 (scripts/bench tracking makes one)", mlflowEnv)
	}
	dsn := postgres.NewDatabase(b)
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		b.Fatal(err)
	}
	addr := freeport.Address(b)
	_, port, _ := net.SplitHostPort(addr)
	dir := b.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "2", "--uvicorn-opts", "--timeout-worker-healthcheck 60", "--artifacts-destination", dir,
		"--backend-store-uri", fmt.Sprintf("postgresql+psycopg2://%s@/%s?host=%s&port=%d", cfg.User, cfg.Database, cfg.Host, cfg.Port))
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Env = append(os.Environ(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false") // its background jobs are not what is measured
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		_ = cmd.Wait()
	})
	t := &tracker{Client: serverproc.NewClient(b, "http://"+addr, nil, load.Senders), prefix: "/api/2.0/mlflow/", db: dsn, seed: func(experiment string) []string {
		return []string{
			fmt.Sprintf(`INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
				SELECT md5(i::text), 'run ' || i, 'UNKNOWN', '', '', 'bench', 'FINISHED', i, i + 1, '', 'active', '', %s FROM generate_series(1, %d) i`, experiment, seeded),
			`INSERT INTO params (run_uuid, key, value) SELECT run_uuid, 'p' || j, (start_time * j % 100)::text FROM runs, generate_series(1, 3) j`,
			`INSERT INTO tags (run_uuid, key, value) SELECT run_uuid, 't' || j, 'value ' || (start_time * j % 1000) FROM runs, generate_series(1, 3) j`,
			`INSERT INTO latest_metrics (run_uuid, key, value, is_nan, step, timestamp) SELECT run_uuid, 'm' || j, (start_time * j * 7919 % 100000) / 100000.0, FALSE, 1, 1 FROM runs, generate_series(1, 3) j`,
			`ANALYZE`,
		}
	}}
	for deadline := time.Now().Add(10 * time.Minute); ; <-time.After(100 * time.Millisecond) {
		_, err := t.Do(b.Context(), http.MethodGet, t.prefix+"experiments/get?experiment_id=0", "")
		if err == nil {
			return t
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			b.Fatalf("MLflow's server did not answer: %v\n%s", err, text)
		}
	}
}

// post sends a request and reads the answer.
func (t *tracker) post(ctx context.Context, operation, body string, into any) error {
	raw, err := t.Do(ctx, http.MethodPost, t.prefix+operation, body)
	if err == nil && into != nil {
		err = json.Unmarshal(raw, into)
	}
	return err
}

// run makes a run of the default experiment.
func (t *tracker) run(b *testing.B) (id, experiment string) {
	b.Helper()
	var made struct {
		Run struct {
			Info struct {
				ID         string `json:"run_id"`
				Experiment string `json:"experiment_id"`
			}
		}
	}
	if err := t.post(b.Context(), "runs/create", `{"experiment_id":"0","start_time":1}`, &made); err != nil {
		b.Fatal(err)
	}
	return made.Run.Info.ID, made.Run.Info.Experiment
}

// BenchmarkTrackingLog logs batches of 1000 points, ten metrics in each, to sixteen runs from sixteen connections: a million
// points, or as many as its share of time allows. The peer is MLflow's own server with a worker a processor.
func BenchmarkTrackingLog(b *testing.B) {
	trackers(b, func(b *testing.B, t *tracker) {
		runs := make([]string, 16)
		for i := range runs {
			runs[i], _ = t.run(b)
		}
		ctx, cancel := context.WithTimeout(b.Context(), share)
		defer cancel()
		var begun, done atomic.Int64
		var wg sync.WaitGroup
		begin := time.Now()
		for range runs {
			wg.Go(func() {
				for i := begun.Add(1); i <= batches && ctx.Err() == nil; i = begun.Add(1) {
					err := t.post(ctx, "runs/log-batch", batch(runs[int(i)%len(runs)], i), nil)
					if err == nil {
						done.Add(1)
					} else if ctx.Err() == nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		reportShare(b, "points", float64(1000*done.Load()), time.Since(begin))
	})
}

// share is how long a system is given for each of the two tasks: MLflow's server would take the better part of an hour. What it has done until
// then says how fast it is.
const share = 2 * time.Minute

// batches are a million points.
const batches = 1000

// reportShare reports how many were done in a system's share, and in a second.
func reportShare(b *testing.B, unit string, n float64, took time.Duration) {
	b.Helper()
	b.ReportMetric(n, unit)
	b.ReportMetric(n/took.Seconds(), unit+"/s")
	b.ReportMetric(0, "ns/op")
}

// batch is a request with a hundred steps of ten metrics.
func batch(run string, n int64) string {
	var s strings.Builder
	s.WriteString(`{"run_id":"` + run + `","metrics":[`)
	for i := range int64(1000) {
		if i > 0 {
			s.WriteByte(',')
		}
		step := n*100 + i/10
		fmt.Fprintf(&s, `{"key":"metric %d","value":%g,"timestamp":%d,"step":%d}`, i%10, 1/float64(step+i), 1_700_000_000_000+step, step)
	}
	s.WriteString(`]}`)
	return s.String()
}

// BenchmarkTrackingSearch reads all of 100,000 runs by pages of 1000, or as many as its share of time allows, and then the best by a condition and an order.
func BenchmarkTrackingSearch(b *testing.B) {
	trackers(b, func(b *testing.B, t *tracker) {
		_, experiment := t.run(b)
		conn, err := pgx.Connect(b.Context(), t.db)
		if err != nil {
			b.Fatal(err)
		}
		for _, text := range t.seed(experiment) {
			if _, err := conn.Exec(b.Context(), text); err != nil {
				b.Fatal(err)
			}
		}
		if err := conn.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.Run("all", func(b *testing.B) {
			for b.Loop() {
				ctx, cancel := context.WithTimeout(b.Context(), share)
				begin := time.Now()
				got := t.all(ctx, b, experiment)
				if ctx.Err() == nil && got < seeded {
					b.Errorf("%d runs, want %d", got, seeded)
				}
				cancel()
				reportShare(b, "runs", float64(got), time.Since(begin))
			}
		})
		for name, query := range map[string]string{
			"by a metric": `"filter":"metrics.m1 > 0.9 AND params.p1 = '7'","order_by":["metrics.m1 DESC"]`,
			"by a tag":    `"filter":"tags.t1 = 'value 77'"`,
			"newest":      `"filter":""`,
		} {
			b.Run(name, func(b *testing.B) {
				for b.Loop() {
					ctx, cancel := context.WithTimeout(b.Context(), share/4)
					var page runPage
					err := t.post(ctx, "runs/search", `{"experiment_ids":["`+experiment+`"],"max_results":100,`+query+`}`, &page)
					late := ctx.Err() != nil
					cancel()
					if late {
						b.Skipf("not through after %s", share/4)
					}
					if err != nil || len(page.Runs) < 50 {
						b.Fatalf("%d runs, %v", len(page.Runs), err)
					}
				}
			})
		}
	})
}

type runPage struct {
	Runs []json.RawMessage `json:"runs"`
	Next string            `json:"next_page_token"`
}

// all reads runs page by page until there are no more or ctx ends.
func (t *tracker) all(ctx context.Context, b *testing.B, experiment string) (n int) {
	b.Helper()
	for token := ""; ; {
		var page runPage
		if err := t.post(ctx, "runs/search", `{"experiment_ids":["`+experiment+`"],"max_results":1000,"page_token":"`+token+`"}`, &page); err != nil {
			if ctx.Err() == nil {
				b.Fatal(err)
			}
			return n
		}
		if n, token = n+len(page.Runs), page.Next; token == "" {
			return n
		}
	}
}
