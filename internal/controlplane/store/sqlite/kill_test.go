package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

const childPath = "FAIRLEAD_TEST_DATABASE"

// TestMain turns the test binary into a writer that says what was acknowledged, when it is asked to.
func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		writeForever(path)
	}
	os.Exit(m.Run())
}

func writeForever(path string) {
	ctx := context.Background()
	s, err := Open(ctx, path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("/%d/%d", w, i)
				err := s.Update(ctx, func(tx store.Tx) error {
					if err := tx.PutDesired(ctx, "c", key, []byte(`1`)); err != nil {
						return err
					}
					_, err := tx.Put(ctx, store.Record{Key: key, Type: "t", Name: key})
					return err
				})
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				mu.Lock()
				fmt.Println(key)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// TestKill: what was acknowledged before a kill -9 is there afterwards, and nothing is there by half.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fairlead.db")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childPath+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acknowledged []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		acknowledged = append(acknowledged, lines.Text())
		if len(acknowledged) == 300 {
			cmd.Process.Kill()
		}
	}
	cmd.Wait()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(acknowledged) < 300 {
		t.Fatalf("only %d writes before the end", len(acknowledged))
	}
	for _, key := range acknowledged {
		if _, err := s.Get(t.Context(), key); err != nil {
			t.Errorf("acknowledged write is lost: %v", err)
		}
	}
	entries, err := s.Desired(t.Context(), "c", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, err := s.Get(t.Context(), e.Key); err != nil {
			t.Errorf("half a transaction: %v", err)
		}
	}
	if seq, err := s.LastChange(t.Context()); err != nil || seq != int64(2*len(entries)) {
		t.Errorf("newest number %d after %d transactions, %v", seq, len(entries), err)
	}
}
