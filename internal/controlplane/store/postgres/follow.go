package postgres

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"fairlead.dev/fairlead/internal/controlplane/store/sqlstore"
)

// channel is notified, with the newest change's number, by every transaction that logs one.
const channel = "fairlead_changes"

// pollEvery is how late other processes' changes are seen when notifications do not arrive: while the listening
// connection is down, or behind a pooler that carries none.
const pollEvery = 2 * time.Second

// follow wakes the store's waiters when another process has written, until ctx ends.
func follow(ctx context.Context, config *pgx.ConnConfig, s *sqlstore.Store) {
	var wg sync.WaitGroup
	wg.Go(func() { poll(ctx, s) })
	for ctx.Err() == nil {
		// An error is not worth a word: polling goes on, and the server's state is reported by whoever writes.
		_ = listen(ctx, config, s)
		select {
		case <-ctx.Done():
		case <-time.After(pollEvery):
		}
	}
	wg.Wait()
}

func poll(ctx context.Context, s *sqlstore.Store) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if seq, err := s.LastChange(ctx); err == nil {
			s.Wake(seq)
		}
	}
}

// listen holds one connection of its own.
func listen(ctx context.Context, config *pgx.ConnConfig, s *sqlstore.Store) error {
	conn, err := pgx.ConnectConfig(ctx, config.Copy())
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		conn.Close(end)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	if seq, err := s.LastChange(ctx); err == nil { // what was written before listening began
		s.Wake(seq)
	}
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		if seq, err := strconv.ParseInt(n.Payload, 10, 64); err == nil {
			s.Wake(seq)
		}
	}
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
