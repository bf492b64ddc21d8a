package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"fairlead.dev/fairlead/internal/local/supervisor"
)

// Up brings the cluster and the control plane up, or what of it is missing, and returns when everything is ready. What it
// does is told on out, step by step with times. Timeout limits the whole.
func Up(ctx context.Context, o Options, timeout time.Duration, out io.Writer) (Config, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	abs, err := filepath.Abs(string(o.Folder))
	if err != nil {
		return Config{}, err
	}
	o.Folder = Folder(abs)
	c, err := o.prepare(ctx, out)
	if err != nil {
		return c, err
	}
	started := time.Now()
	if st, err := supervisor.ReadState(o.Folder.RunDir()); err == nil && st.Ready != nil && st.Config == c.hash() && isHeld(o.Folder) {
		fmt.Fprintln(out, "Everything runs already")
		return c, o.Folder.afterUp(ctx, c, out)
	}
	if err := startSupervisor(ctx, o.Folder, c); err != nil {
		return c, err
	}
	if err := follow(ctx, o.Folder, c.hash(), started, out); err != nil {
		return c, err
	}
	return c, o.Folder.afterUp(ctx, c, out)
}

// afterUp does what needs the cluster and the control plane to run.
func (f Folder) afterUp(ctx context.Context, c Config, out io.Writer) error {
	if err := loggedIn(ctx, f, c); err != nil {
		return err
	}
	return followImages(ctx, f, c, out)
}

// OnImages, if set, is called by `fairlead up` when the cluster has Fairlead's images as they are built now, so that an agent that
// runs older ones is upgraded. It is called at every `up` and must be idempotent.
var OnImages func(ctx context.Context, kubeconfig string, progress func(string)) error

// followImages is for own clusters only: in others somebody else decides which images there are.
func followImages(ctx context.Context, f Folder, c Config, out io.Writer) error {
	if c.External() || OnImages == nil {
		return nil
	}
	if err := OnImages(ctx, f.Kubeconfig(), func(text string) { fmt.Fprintln(out, "  "+text) }); err != nil {
		return fmt.Errorf("upgrading the cluster's agent: %w", err)
	}
	return nil
}

func loggedIn(ctx context.Context, f Folder, c Config) error {
	if c.Server == "" || OnReady == nil {
		return nil
	}
	p, err := readProfile(f, c)
	if err != nil {
		return err
	}
	if err := OnReady(ctx, p); err != nil {
		return fmt.Errorf("logging in to the control plane: %w", err)
	}
	return nil
}

// prepare checks the machine and writes the configuration.
func (o Options) prepare(ctx context.Context, out io.Writer) (Config, error) {
	old, err := LoadConfig(o.Folder)
	exists := err == nil
	if err != nil && !errors.Is(err, ErrNone) {
		return old, err
	}
	if o.Kubeconfig == "" {
		if err := checkMachine(ctx, out); err != nil {
			return old, err
		}
		if o.Images, err = makeImages(ctx, o.Images, out); err != nil {
			return old, err
		}
	}
	c, err := o.configure(old, exists)
	if err != nil {
		return c, err
	}
	if !exists {
		if err := o.firstTime(&c); err != nil {
			return c, err
		}
	}
	return c, c.save(o.Folder)
}

// startSupervisor starts one unless one runs this configuration already; one that runs another hands over its parts.
func startSupervisor(ctx context.Context, f Folder, c Config) error {
	if isHeld(f) {
		st, err := supervisor.ReadState(f.RunDir())
		if err != nil {
			return err
		}
		if st.Config == c.hash() {
			return nil
		}
		if err := syscall.Kill(st.Supervisor.PID, syscall.SIGUSR1); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("asking the supervisor to hand over: %w", err)
		}
		if err := awaitFree(ctx, f); err != nil {
			return err
		}
	}
	// What the last supervisor left would be read as this one's progress.
	_ = os.Remove(supervisor.StateFile(f.RunDir()))
	if err := os.MkdirAll(f.Path("logs"), 0o700); err != nil {
		return fmt.Errorf("making the folder of logs: %w", err)
	}
	log, err := os.OpenFile(f.Log("supervisor"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the supervisor's log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(c.Executable, SupervisorCommand, string(f))
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the supervisor: %w", err)
	}
	return cmd.Process.Release()
}

// follow tells the steps as they end, until the supervisor of this configuration is ready.
func follow(ctx context.Context, f Folder, hash string, started time.Time, out io.Writer) error {
	told := map[string]bool{}
	var st supervisor.State
	for {
		var err error
		if st, err = supervisor.ReadState(f.RunDir()); err != nil {
			return err
		}
		if st.Config == hash {
			tell(out, st, told)
			if st.Ready != nil {
				fmt.Fprintf(out, "Ready in %s\n", seconds(time.Since(started)))
				return nil
			}
			if slices.ContainsFunc(st.Parts, hopeless) {
				return notReady(errHopeless, f, st)
			}
		}
		if st.Config != hash && time.Since(started) > 3*time.Second && !isHeld(f) {
			return fmt.Errorf("the supervisor did not start: %s", tail(f.Log("supervisor"), 5))
		}
		select {
		case <-ctx.Done():
			return notReady(context.Cause(ctx), f, st)
		case <-time.After(30 * time.Millisecond):
		}
	}
}

func tell(out io.Writer, st supervisor.State, told map[string]bool) {
	for _, s := range st.Steps {
		if s.State != supervisor.Done || told[s.Name] {
			continue
		}
		told[s.Name] = true
		fmt.Fprintf(out, "  ✓ %-26s %6s  (at %s)\n", s.Title, seconds(s.Ended.Sub(*s.Started)), seconds(s.Ended.Sub(st.Started)))
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

var errHopeless = errors.New("a component does not stay up")

// hopeless: it was started again several times and never ran for long, so waiting longer helps nobody.
func hopeless(p supervisor.PartState) bool { return p.State == supervisor.Backoff && p.Restarts >= 6 }

// notReady says what was waited for, with the last lines of logs of parts that do not stay up.
func notReady(why error, f Folder, st supervisor.State) error {
	var b strings.Builder
	fmt.Fprintf(&b, "not ready: %v", why)
	for _, p := range st.Pending() {
		fmt.Fprintf(&b, "\n  waiting for %s", p)
	}
	for _, p := range st.Parts {
		if p.State == supervisor.Backoff || p.Restarts > 1 {
			fmt.Fprintf(&b, "\n  %s ended (%s); the end of %s:\n%s", p.Name, p.LastExit, p.Log, indent(tail(p.Log, 5)))
		}
	}
	fmt.Fprintf(&b, "\n  everything goes on in the background: see `fairlead status`, logs in %s", f.Path("logs"))
	return errors.New(b.String())
}

func indent(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }

// tail is the last lines of a file, at most 64 KiB.
func tail(path string, lines int) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	from := max(0, info.Size()-64<<10)
	data, err := io.ReadAll(io.NewSectionReader(f, from, info.Size()-from))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
