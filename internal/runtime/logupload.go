package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fairlead.dev/fairlead/internal/runtime/blobclient"
)

// maxAppend bounds one append, in bytes.
const maxAppend = 4 << 20

// logUploader copies one spool to an append blob, in order and without repeats.
type logUploader struct {
	blobs *blobclient.Client
	spool *spool
	url   string
	every time.Duration
}

// run appends what is new at most once per period, and at once when the spool ended; it returns when all is stored.
func (u *logUploader) run(ctx context.Context) error {
	pos, err := u.blobs.CreateAppend(ctx, u.url, "text/plain; charset=utf-8")
	if err != nil {
		return fmt.Errorf("creating log %s: %w", u.spool.name, err)
	}
	buf := make([]byte, 0, 64<<10)
	for {
		size, more, err := u.spool.more(ctx, pos)
		if err != nil {
			return err
		}
		if !more {
			return u.noteLoss(ctx, pos)
		}
		if pos, buf, err = u.appendUpTo(ctx, pos, size, buf); err != nil {
			return fmt.Errorf("appending to log %s: %w", u.spool.name, err)
		}
		if err := u.pause(ctx); err != nil {
			return err
		}
	}
}

// appendUpTo stores the bytes from pos to size. buf is used again; it grows to what one append needs.
func (u *logUploader) appendUpTo(ctx context.Context, pos, size int64, buf []byte) (int64, []byte, error) {
	for pos < size {
		n := int(min(maxAppend, size-pos))
		if cap(buf) < n {
			buf = make([]byte, n)
		}
		p := buf[:n]
		if _, err := u.spool.f.ReadAt(p, pos); err != nil {
			return pos, buf, fmt.Errorf("reading spool: %w", err)
		}
		next, err := u.append(ctx, pos, p)
		if err != nil {
			return pos, buf, err
		}
		pos = next
	}
	return pos, buf, nil
}

// append stores p at pos and returns the blob's new end. When the blob ends elsewhere, an earlier try was stored and its
// answer lost: the store's own length says where to go on.
func (u *logUploader) append(ctx context.Context, pos int64, p []byte) (int64, error) {
	err := u.blobs.Append(ctx, u.url, pos, p)
	var se *blobclient.StatusError
	if err == nil || !errors.As(err, &se) || !se.WrongPosition() {
		return pos + int64(len(p)), err
	}
	props, err := u.blobs.Head(ctx, u.url)
	if err != nil {
		return pos, err
	}
	local, _, _ := u.spool.state()
	if props.Size > local {
		return pos, fmt.Errorf("stored log has %d bytes, but only %d were written here: another pod writes the same log", props.Size, local)
	}
	return props.Size, nil
}

// noteLoss ends a stored log that lacks output by saying so. The note goes into the blob only: there is no room in the spool.
func (u *logUploader) noteLoss(ctx context.Context, pos int64) error {
	lost := u.spool.Err()
	if lost == nil {
		return nil
	}
	note := fmt.Appendf(nil, "\nfairlead: the log ends here; later output was dropped: %v\n", lost)
	err := u.blobs.Append(ctx, u.url, pos, note)
	var se *blobclient.StatusError
	if errors.As(err, &se) && se.WrongPosition() { // the answer to an earlier try was lost
		p, herr := u.blobs.Head(ctx, u.url)
		if herr == nil && p.Size == pos+int64(len(note)) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("appending to log %s: %w", u.spool.name, err)
	}
	return nil
}

// pause waits one period, or until the spool ends.
func (u *logUploader) pause(ctx context.Context) error {
	t := time.NewTimer(u.every)
	defer t.Stop()
	for {
		_, ended, changed := u.spool.state()
		if ended {
			return nil
		}
		select {
		case <-changed:
		case <-t.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
