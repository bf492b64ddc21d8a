package gate

import "time"

// How long pods that fail are left alone, and how often they may fail.
const (
	firstDown, maxDown       = 100 * time.Millisecond, 5 * time.Second
	failuresToEject          = 5
	firstEjected, maxEjected = time.Second, 30 * time.Second
)

// pod is the state of one pod. It lives on in tickets after the deployment has lost it.
type pod struct {
	addr        string
	slots, busy int
	// refused counts connections refused in a row, failed failures in a row after connecting, ejections those without a success since.
	refused, failed, ejections int
	// down is until when it is left alone since it refused, ejected since it failed too often. Only ejection gives way when pods are
	// few: nobody answers where a connection is refused.
	down, ejected time.Time
}

func (p *pod) until() time.Time {
	if p.down.After(p.ejected) {
		return p.down
	}
	return p.ejected
}

// troubled says that the pod was or is left alone since it last answered.
func (p *pod) troubled() bool { return !p.down.IsZero() || !p.ejected.IsZero() }

// leftAlone says that the pod gets no requests for now; heed is heedEjected.
func (p *pod) leftAlone(now time.Time, heed bool) bool {
	return p.down.After(now) || heed && p.ejected.After(now)
}

// Outcome is how a request at a pod ended.
type Outcome int

// Outcomes.
const (
	// Unused says nothing of the pod: it was not asked, or the caller went away.
	Unused Outcome = iota
	// Answered by the pod, with whatever status.
	Answered
	// Refused a connection.
	Refused
	// Failed: the connection broke before an answer, or there was none in time.
	Failed
)

func (p *pod) note(o Outcome) {
	switch o {
	case Unused:
	case Answered:
		p.refused, p.failed, p.ejections = 0, 0, 0
		p.down, p.ejected = time.Time{}, time.Time{}
	case Refused:
		p.down = time.Now().Add(min(firstDown<<min(p.refused, 10), maxDown))
		p.refused++
	case Failed:
		if p.failed++; p.failed >= failuresToEject {
			p.ejected = time.Now().Add(min(firstEjected<<min(p.ejections, 10), maxEjected))
			p.failed = 0
			p.ejections++
		}
	}
}

// Ticket is one request's place at a pod. It must be released exactly once; later releases do nothing.
type Ticket struct {
	Addr string
	gate *Gate
	pod  *pod
	peer bool
	// back returns what is borrowed to its owner.
	back     func(Outcome)
	released bool
}

// issue makes a ticket; the gate is locked.
func (g *Gate) issue(p *pod, peer bool) *Ticket {
	p.busy++
	if !peer {
		g.busy++
		g.note()
	}
	return &Ticket{Addr: p.addr, gate: g, pod: p, peer: peer}
}

// Release gives the place back and says how it went.
func (t *Ticket) Release(o Outcome) {
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	t.release(o)
}

func (t *Ticket) release(o Outcome) {
	if t.released {
		return
	}
	t.released = true
	if !t.peer {
		t.gate.busy--
	}
	t.pod.note(o)
	if t.back != nil {
		t.back(o)
	} else {
		t.pod.busy--
	}
	t.gate.dispatch()
}
