package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"fairlead.dev/fairlead/internal/local/process"
	"fairlead.dev/fairlead/internal/local/supervisor"
)

// Down stops everything and removes what Up made, the data folder too unless keepData. It works on whatever is left,
// also when processes were killed or files are missing, and is safe to do again.
func Down(ctx context.Context, f Folder, keepData bool, out io.Writer) error {
	abs, err := filepath.Abs(string(f))
	if err != nil {
		return err
	}
	f = Folder(abs)
	c, err := LoadConfig(f)
	if errors.Is(err, ErrNone) {
		fmt.Fprintf(out, "There is no local cluster in %s\n", f)
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	start := time.Now()
	steps := []downStep{
		{"supervisor", func() error { return stopSupervisor(ctx, f, keepData) }},
		{"components", func() error { return stopRecorded(ctx, f) }},
	}
	if !c.External() {
		steps = append(steps, clusterDown(ctx, f, c)...)
	}
	steps = append(steps, downStep{"files", func() error { return removeFiles(f, keepData) }})
	for _, s := range steps {
		began := time.Now()
		if err := s.run(); err != nil {
			return fmt.Errorf("taking down %s: %w", s.title, err)
		}
		fmt.Fprintf(out, "  ✓ %-26s %6s\n", s.title, seconds(time.Since(began)))
	}
	fmt.Fprintf(out, "Down in %s\n", seconds(time.Since(start)))
	return nil
}

type downStep struct {
	title string
	run   func() error
}

// stopSupervisor ends the supervisor. With keep it stops its parts in order first, so that they can write to the end.
func stopSupervisor(ctx context.Context, f Folder, keep bool) error {
	if !isHeld(f) {
		return nil
	}
	st, err := supervisor.ReadState(f.RunDir())
	if err != nil {
		return err
	}
	sig := syscall.SIGUSR1
	if keep {
		sig = syscall.SIGTERM
	}
	if st.Supervisor.PID > 0 && process.Alive(st.Supervisor) {
		if err := syscall.Kill(st.Supervisor.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stopping the supervisor: %w", err)
		}
	}
	soon, cancel := context.WithTimeout(ctx, 45*time.Second)
	defer cancel()
	if err := awaitFree(soon, f); err != nil {
		return errors.Join(err, ctx.Err(), syscall.Kill(st.Supervisor.PID, syscall.SIGKILL))
	}
	return nil
}

// stopRecorded stops what supervisors have left running.
func stopRecorded(ctx context.Context, f Folder) error {
	for name, id := range supervisor.Records(f.RunDir()) {
		p, ok := process.Adopt(id)
		if !ok {
			continue
		}
		grace := time.Duration(0)
		if name == "server" {
			grace = 5 * time.Second
		}
		if err := p.Stop(ctx, grace); err != nil {
			return fmt.Errorf("stopping %s: %w", name, err)
		}
	}
	return nil
}

// removeFiles removes what Up made in the data folder, and the folder if nothing else is in it.
func removeFiles(f Folder, keepData bool) error {
	remove := []string{"run", "logs", "bin"}
	if !keepData {
		remove = append(remove, "config.json", "config.json.new", "kubeconfig", "pki", "etcd", "server", "nodes")
	}
	var errs []error
	for _, name := range remove {
		errs = append(errs, os.RemoveAll(f.Path(name)))
	}
	if err := errors.Join(errs...); err != nil || keepData {
		return err
	}
	if err := os.Remove(string(f)); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return err
	}
	return nil
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// outboundIP is the machine's address towards the world; nothing is sent to find it.
func outboundIP() string {
	conn, err := net.Dial("udp", "192.0.2.1:9")
	if err != nil {
		return "127.0.0.1"
	}
	defer conn.Close()
	if a, ok := conn.LocalAddr().(*net.UDPAddr); ok {
		return a.IP.String()
	}
	return "127.0.0.1"
}
