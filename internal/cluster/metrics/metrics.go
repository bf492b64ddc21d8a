// Package metrics is metrics-controller-manager: it turns what Prometheus has measured of jobs' pods into series of whole jobs and
// brings them to the control plane, where they stay when the pods are gone.
//
//	control plane ── through ──▶ controller ── query_range ──▶ Prometheus
//	control plane ◀── samples ──
//
// It remembers nothing. Prometheus is the buffer and the control plane knows how far it got, so after any outage of either, or of
// this program, it goes on from there.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"fairlead.dev/fairlead/internal/link"
)

const (
	// step is what one sample speaks of.
	step = time.Minute
	// settle is how long after its end a minute is asked for: Prometheus has scraped everybody by then.
	settle = 20 * time.Second
	// overlap is sent again each time, for what Prometheus learned late.
	overlap = 2 * step
	// window bounds what is asked for at once.
	window = 10 * step
	// buffer is how long Prometheus keeps what it measured, and so how far back it makes sense to ask.
	buffer = 6 * time.Hour
	// every is the pause between looks at the clock.
	every = 10 * time.Second
	// patience is how long it may take until Prometheus answers for the first time. Where it is somebody else's operator's to make,
	// the extension does without series rather than not being installed.
	patience = time.Minute
)

// ControlPlane is the part of the link that this package uses.
type ControlPlane interface {
	MetricsThrough(ctx context.Context) (time.Time, error)
	PostMetrics(ctx context.Context, samples []link.Sample, through time.Time) error
}

// Config is what New needs; Clock and Log may be nil.
type Config struct {
	ControlPlane ControlPlane
	// Prometheus is its address.
	Prometheus string
	Clock      func() time.Time
	Log        *slog.Logger
}

// Controller brings samples to the control plane.
type Controller struct {
	cfg  Config
	prom prometheus
	// told is up to when the control plane is known to have everything; zero when it must be asked.
	told time.Time
}

// New makes a controller.
func New(cfg Config) *Controller {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Controller{cfg: cfg, prom: newPrometheus(cfg.Prometheus)}
}

// Run works until ctx ends. It calls ready when Prometheus has answered for the first time, or nobody made it in time.
func (c *Controller) Run(ctx context.Context, ready func()) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last string
	giveUp, told := c.cfg.Clock().Add(patience), false
	for {
		if !told && (c.prom.ping(ctx) == nil || c.cfg.Clock().After(giveUp)) {
			told = true
			ready()
		}
		err := c.CatchUp(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && err.Error() != last:
			c.cfg.Log.Warn("bringing samples to the control plane; trying again", "err", err)
			last = err.Error()
		case err == nil && last != "":
			c.cfg.Log.Info("samples reach the control plane again", "through", c.told)
			last = ""
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// CatchUp sends all whole minutes that the control plane does not have.
func (c *Controller) CatchUp(ctx context.Context) error {
	newest := c.cfg.Clock().Add(-settle).Truncate(step)
	if !c.told.Before(newest) {
		return nil
	}
	if err := c.ask(ctx, newest); err != nil {
		return err
	}
	for c.told.Before(newest) {
		to := c.told.Add(window)
		if to.After(newest) {
			to = newest
		}
		samples, err := c.prom.samples(ctx, c.told.Add(step-overlap), to)
		if err != nil {
			return fmt.Errorf("asking Prometheus: %w", err)
		}
		if err := c.cfg.ControlPlane.PostMetrics(ctx, samples, to); err != nil {
			c.told = time.Time{} // a control plane that was restored from a copy may have less than it said
			return refused(err)
		}
		c.told = to
	}
	return nil
}

// ask finds out where to go on, unless it is known.
func (c *Controller) ask(ctx context.Context, newest time.Time) error {
	if !c.told.IsZero() {
		return nil
	}
	through, err := c.cfg.ControlPlane.MetricsThrough(ctx)
	if err != nil {
		return fmt.Errorf("asking the control plane how far it got: %w", err)
	}
	if oldest := newest.Add(-buffer); through.Before(oldest) {
		through = oldest
	}
	c.told = through.Truncate(step)
	return nil
}

// refused says what to do about samples that the control plane does not take.
func refused(err error) error {
	var se *link.StatusError
	if errors.As(err, &se) && se.Status == 400 {
		return fmt.Errorf("the control plane refuses the samples, which wait in Prometheus: %w", err)
	}
	return fmt.Errorf("sending samples: %w", err)
}
