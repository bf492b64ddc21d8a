package history

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/blobs"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/link"
)

// maxStall is how long a reader may take none of what is sent before it is dropped.
const maxStall = 10 * time.Minute

// follow is one reader of one log file. It sends what is kept, then goes on live from there, and looks at what is kept again
// whenever the live end is away:
//
//	kept ──▶ job ended, or a later attempt runs? ──yes──▶ kept once more, end
//	  ▲            │ no
//	  └─ poll ◀── live (until it breaks or its file ends)
type follow struct {
	s      *Server
	w      io.Writer
	rc     *http.ResponseController
	jobKey string
	name   string // relative to the artifacts
	pos    int64
}

func (s *Server) getLog(w http.ResponseWriter, r *http.Request, j *job) error {
	name := r.PathValue("path")
	if !isLog(name) || path.Clean(name) != name {
		return arm.Errorf(http.StatusNotFound, "LogNotFound", "%.200q is not a log file of a run; they are below user_logs/, system_logs/ and logs/.", name)
	}
	offset, follows, err := logQuery(r.URL.Query())
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if !follows {
		return s.sendKept(w, r, j, name, offset)
	}
	h.Set("X-Accel-Buffering", "no")
	f := &follow{s: s, w: w, rc: http.NewResponseController(w), jobKey: j.rec.Key, name: name, pos: offset}
	w.WriteHeader(http.StatusOK)
	_ = f.rc.Flush()
	if err := f.run(r.Context()); err != nil {
		if r.Context().Err() == nil {
			s.cfg.Log.Warn("following a log", "run", j.rec.Name, "file", name, "err", err)
		}
		panic(http.ErrAbortHandler) // the reader must not take the part for the whole; it asks again from its offset
	}
	return nil
}

func logQuery(q url.Values) (offset int64, follows bool, err error) {
	if v := q.Get("offset"); v != "" {
		if offset, err = strconv.ParseInt(v, 10, 64); err != nil || offset < 0 {
			return 0, false, arm.Invalid("offset", "offset=%.40q is not a number of bytes.", v)
		}
	}
	if v := q.Get("follow"); v != "" {
		if follows, err = strconv.ParseBool(v); err != nil {
			return 0, false, arm.Invalid("follow", "follow=%.40q is not true or false.", v)
		}
	}
	return offset, follows, nil
}

func (s *Server) sendKept(w http.ResponseWriter, r *http.Request, j *job, name string, offset int64) error {
	rd, size, err := s.cfg.Blobs.NewReader(r.Context(), j.account, j.container, j.folder+"/"+name, offset)
	if blobs.IsNotFound(err) {
		return arm.Errorf(http.StatusNotFound, "LogNotFound", "Run %s has no log file %q (yet); its state is %s.", j.rec.Name, name, j.props.Status)
	}
	if err != nil {
		return err
	}
	defer rd.Close()
	w.Header().Set("Content-Length", strconv.FormatInt(max(0, size-offset), 10))
	if _, err := io.Copy(w, rd); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (f *follow) run(ctx context.Context) error {
	var nextLive time.Time
	for {
		j, err := f.s.job(ctx, f.jobKey) // before what is kept is read: what an ended job left is then complete
		if isGone(err) {
			return nil // deleted with its logs
		}
		if err != nil {
			return err
		}
		done := j.terminal() || j.state.Attempt > attemptOf(f.name)
		if err := f.kept(ctx, j); err != nil {
			return err
		}
		if done {
			return nil
		}
		if now := f.s.cfg.Clock(); f.s.cfg.Open != nil && j.state.JobID != "" && !now.Before(nextLive) {
			began := f.pos
			err := f.live(ctx, j)
			if errors.Is(err, errReader) {
				return err
			}
			nextLive = f.s.cfg.Clock().Add(f.s.cfg.Poll)
			if err != nil && f.pos == began {
				nextLive = f.s.cfg.Clock().Add(f.s.cfg.RetryLive)
				f.s.cfg.Log.Debug("no live log; reading what is kept", "run", j.rec.Name, "err", err)
			}
		}
		if !sleep(ctx, f.s.cfg.Poll) {
			return ctx.Err()
		}
	}
}

func isGone(err error) bool {
	var ae *arm.Error
	return errors.As(err, &ae) && ae.Status == http.StatusNotFound
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// kept sends what is stored beyond f.pos. The live end may have sent more already than is stored.
func (f *follow) kept(ctx context.Context, j *job) error {
	rd, size, err := f.s.cfg.Blobs.NewReader(ctx, j.account, j.container, j.folder+"/"+f.name, f.pos)
	if blobs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer rd.Close()
	if size <= f.pos {
		return nil
	}
	return f.copy(rd)
}

// errReader marks an error of the reader, which ends everything; errors of the source do not.
var errReader = errors.New("sending to the reader")

// copy sends everything from src, flushing after each piece.
func (f *follow) copy(src io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			_ = f.rc.SetWriteDeadline(time.Now().Add(maxStall))
			if _, werr := f.w.Write(buf[:n]); werr != nil {
				return fmt.Errorf("%w: %w", errReader, werr)
			}
			f.pos += int64(n)
			if werr := f.rc.Flush(); werr != nil {
				return fmt.Errorf("%w: %w", errReader, werr)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// live reads the pod's file server through the relay until the file ends there.
func (f *follow) live(ctx context.Context, j *job) error {
	key, err := f.s.cfg.LogKey(ctx, j.state.Cluster, j.state.JobID)
	if err != nil {
		return err
	}
	t := link.Target{Kind: link.KindRun, Namespace: j.state.Namespace, JobID: j.state.JobID, Rank: rankOf(f.name, j.state)}
	conn, err := f.s.cfg.Open(ctx, j.state.Cluster, t)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	go f.endLive(ctx, cancel)
	res, err := getLive(ctx, conn, key, f.name, f.pos)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return f.copy(res.Body)
}

// endLive ends a live connection some time after its job ended: a lost node closes nothing.
func (f *follow) endLive(ctx context.Context, cancel context.CancelFunc) {
	for ended := false; sleep(ctx, f.s.cfg.RetryLive); {
		if ended {
			cancel()
			return
		}
		j, err := f.s.job(ctx, f.jobKey)
		ended = isGone(err) || (err == nil && (j.terminal() || j.state.Attempt > attemptOf(f.name)))
	}
}

// getLive asks the runtime's file server over a connection that is already there.
func getLive(ctx context.Context, conn net.Conn, key, name string, offset int64) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "run", Path: "/files/" + name, RawQuery: url.Values{"offset": {strconv.FormatInt(offset, 10)}, "follow": {"true"}}.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	_ = conn.SetDeadline(time.Now().Add(15 * time.Second))
	if err := req.Write(conn); err != nil {
		return nil, fmt.Errorf("asking the run's file server: %w", err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return nil, fmt.Errorf("asking the run's file server: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 300))
		res.Body.Close()
		return nil, fmt.Errorf("the run's file server answered %d: %s", res.StatusCode, strings.TrimSpace(string(text)))
	}
	_ = conn.SetDeadline(time.Time{})
	return res, nil
}

var (
	retryFolder = regexp.MustCompile(`^retry-(\d{3})/`)
	rankEnding  = regexp.MustCompile(`_(\d+)\.[a-z]+$`)
)

// attemptOf is the attempt that writes a log file: 0, or n in folder retry-00n.
func attemptOf(name string) int {
	if m := retryFolder.FindStringSubmatch(name); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return 0
}

// rankOf is the rank of the pod that writes a log file: user logs are numbered by process, system logs by pod.
func rankOf(name string, st runstate.State) int {
	m := rankEnding.FindStringSubmatch(name)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0
	}
	if d := st.Spec.Distribution; d != nil && d.ProcessCountPerInstance > 1 && strings.Contains(name, "user_logs/") {
		n /= int(d.ProcessCountPerInstance)
	}
	return n
}
