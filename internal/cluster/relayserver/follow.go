package relayserver

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"fairlead.dev/fairlead/internal/link"
)

// maxEvent bounds the text of an event.
const maxEvent = 1000

// follower sends to one reader what a container writes in all pods of a deployment, until the reader leaves.
type follower struct {
	s *Server
	t link.Target

	send sync.Mutex
	out  *bufio.Writer

	// mu guards what the readers of logs tell the loop that looks for pods.
	mu      sync.Mutex
	known   map[types.UID]*followed
	last    map[types.UID]time.Time // of the newest line, whichever container of the pod wrote it
	cancels map[types.UID]context.CancelFunc
}

// follow serves a KindFollow target.
func (s *Server) follow(ctx context.Context, t link.Target, stream net.Conn) error {
	pods, err := s.podsOf(ctx, t)
	if answerErr := link.AnswerTarget(stream, err); err != nil || answerErr != nil {
		return errors.Join(err, answerErr)
	}
	f := &follower{s: s, t: t, out: bufio.NewWriter(stream), known: map[types.UID]*followed{}, last: map[types.UID]time.Time{}, cancels: map[types.UID]context.CancelFunc{}}
	var readers sync.WaitGroup
	defer readers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	readers.Go(func() { // the reader sends nothing; the end of its stream is that it has left
		_, _ = io.Copy(io.Discard, stream)
		cancel()
	})
	defer stream.Close()
	return f.run(ctx, pods, &readers)
}

// run looks at the pods again and again. While the API server is away, the logs that are read go on.
func (f *follower) run(ctx context.Context, pods []corev1.Pod, readers *sync.WaitGroup) error {
	var err error
	said := ""
	for first := true; ; first = false {
		if err == nil {
			if event := f.ofAll(len(pods)); event != said {
				said = event
				if err := f.tell("", event); err != nil {
					return err
				}
			}
			if err := f.act(ctx, pods, first, readers); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(f.s.poll):
		}
		pods, err = f.s.podsOf(ctx, f.t)
	}
}

// ofAll is what there is to say of the deployment.
func (f *follower) ofAll(pods int) string {
	switch {
	case pods == 0:
		return "there is no pod; waiting for one"
	case pods > maxLogPods:
		return fmt.Sprintf("there are %d pods; the newest %d are followed", pods, maxLogPods)
	}
	return ""
}

func (f *follower) act(ctx context.Context, pods []corev1.Pod, first bool, readers *sync.WaitGroup) error {
	f.mu.Lock()
	actions := plan(f.known, pods, f.t.Container, first)
	f.mu.Unlock()
	for _, a := range actions {
		switch a.kind {
		case actTell:
			if err := f.tell(a.pod, a.event); err != nil {
				return err
			}
		case actCut:
			f.mu.Lock()
			cancel := f.cancels[a.uid]
			f.mu.Unlock()
			if cancel != nil { // else its log has just ended
				cancel()
			}
		case actRead:
			reading, cancel := context.WithCancel(ctx)
			f.mu.Lock()
			f.cancels[a.uid] = cancel
			f.mu.Unlock()
			readers.Go(func() {
				defer cancel()
				f.ended(a.uid, f.read(reading, a))
			})
		}
	}
	return nil
}

// ended notes that a log is not read any more.
func (f *follower) ended(uid types.UID, whole bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if k := f.known[uid]; k != nil {
		k.reading, k.whole = false, whole
	}
	delete(f.cancels, uid)
}

// read sends the log of a pod's container, from where the pod's was sent to, and reports whether it has come to its end. A container that
// has started again since it was looked at is read in the place of the one that was meant; what it wrote then is not sent again.
func (f *follower) read(ctx context.Context, a action) (whole bool) {
	f.mu.Lock()
	last := f.last[a.uid]
	f.mu.Unlock()
	o := &corev1.PodLogOptions{Container: f.t.Container, Follow: true, Timestamps: true}
	switch since := cmp.Or(last, f.t.Since); {
	case !since.IsZero():
		o.SinceTime = &metav1.Time{Time: since} // of which the API server reads whole seconds
	case !a.late:
		tail := int64(f.t.Tail)
		o.TailLines = &tail
	}
	log, err := f.s.openLog(ctx, f.t.Namespace, a.pod, o)
	if err != nil {
		f.unreadable(a, err)
		return false
	}
	defer log.Close()
	defer context.AfterFunc(ctx, func() { log.Close() })()
	r := bufio.NewReaderSize(log, link.MaxLogLine)
	var at time.Time
	begins, again := true, !last.IsZero()
	for {
		raw, err := r.ReadSlice('\n')
		text := raw
		if begins && len(raw) > 0 {
			at, text = stamped(raw)
		}
		if again = again && !at.After(last); len(raw) > 0 && !again {
			if f.line(a, at, text, r.Buffered() == 0) != nil {
				return false // the reader has left
			}
		}
		if begins = err == nil; err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return errors.Is(err, io.EOF)
		}
	}
}

// stamped splits what the kubelet puts before a line from it.
func stamped(raw []byte) (time.Time, []byte) {
	stamp, text, ok := bytes.Cut(raw, []byte{' '})
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if !ok || err != nil {
		return time.Time{}, raw
	}
	return at, text
}

// line sends a line, and with it what is gathered when no other follows at once.
func (f *follower) line(a action, at time.Time, text []byte, flush bool) error {
	if err := f.encode(link.PodLine{Time: at.UTC(), Pod: a.pod, Container: f.t.Container, Text: string(bytes.TrimRight(text, "\r\n"))}, flush); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if at.After(f.last[a.uid]) {
		f.last[a.uid] = at
	}
	return nil
}

func (f *follower) encode(l link.PodLine, flush bool) error {
	f.send.Lock()
	defer f.send.Unlock()
	enc := json.NewEncoder(f.out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return err
	}
	if flush {
		return f.out.Flush()
	}
	return nil
}

// unreadable tells once why a log cannot be read.
func (f *follower) unreadable(a action, err error) {
	event := trim("its log cannot be read: " + err.Error())
	f.mu.Lock()
	k := f.known[a.uid]
	fresh := k != nil && k.said != event
	if fresh {
		k.said = event
	}
	f.mu.Unlock()
	if fresh {
		_ = f.tell(a.pod, event) // a reader that has left is noticed by its stream
	}
}

func (f *follower) tell(pod, event string) error {
	if event == "" {
		return nil
	}
	return f.encode(link.PodLine{Time: time.Now().UTC(), Pod: pod, Container: f.t.Container, Event: event}, true)
}
