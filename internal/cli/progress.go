package cli

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// spinner shows on a terminal that something goes on; elsewhere it is silent.
type spinner struct {
	mu    sync.Mutex
	state string
	quit  chan struct{}
	done  chan struct{}
}

func (a *app) watched() bool { return a.deps.StderrTTY && !a.onlyShowErrors }

func (a *app) spinner(state string) *spinner {
	s := &spinner{state: state, quit: make(chan struct{}), done: make(chan struct{})}
	if !a.watched() {
		close(s.done)
		return s
	}
	go s.run(a.deps.Stderr, a.deps.Now())
	return s
}

func (s *spinner) run(w io.Writer, began time.Time) {
	defer close(s.done)
	frames := []string{"|", "/", "-", `\`}
	tick := time.NewTicker(120 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-s.quit:
			fmt.Fprint(w, "\r\x1b[K")
			return
		case now := <-tick.C:
			s.mu.Lock()
			fmt.Fprintf(w, "\r\x1b[K %s %s (%d s)", frames[i%len(frames)], s.state, int(now.Sub(began).Seconds()))
			s.mu.Unlock()
		}
	}
}

func (s *spinner) say(state string) {
	s.mu.Lock()
	s.state = state
	s.mu.Unlock()
}

// stop ends the spinner and clears its line. It must be called once.
func (s *spinner) stop() {
	close(s.quit)
	<-s.done
}

// bar counts bytes; on a terminal it is drawn.
type bar struct {
	p *mpb.Progress
	b *mpb.Bar
}

func (a *app) bar(title string, total int64) *bar {
	if !a.watched() || total <= 0 {
		return &bar{}
	}
	p := mpb.New(mpb.WithOutput(a.deps.Stderr), mpb.WithWidth(48))
	return &bar{p: p, b: p.AddBar(total,
		mpb.PrependDecorators(decor.Name(title+" ")),
		mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f"), decor.Name("  "), decor.AverageSpeed(decor.SizeB1024(0), "% .1f")),
	)}
}

// add counts n more bytes; it is safe for concurrent use.
func (b *bar) add(n int64) {
	if b.b != nil {
		b.b.IncrInt64(n)
	}
}

// finish completes or abandons the bar.
func (b *bar) finish() {
	if b.b == nil {
		return
	}
	if !b.b.Completed() {
		b.b.Abort(false)
	}
	b.p.Wait()
}
