package managedcluster

import (
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/types"
)

// action is what is done next.
type action int

const (
	// nothing is to be done before the next change.
	nothing action = iota
	// wait looks again later.
	wait
	// install applies the agent, succeed ends the operation well, giveUp ends it with the reason why the agent does not connect.
	install
	succeed
	giveUp
	// uninstall takes the agent out and ends the deletion.
	uninstall
)

const (
	// patience is how long an agent may take to connect: an image may have to be pulled.
	patience = 10 * time.Minute
	// poll is how often an agent that was installed is looked for.
	poll = 2 * time.Second
)

// input is all that the next step is decided by.
type input struct {
	now time.Time
	// state is the provisioningState.
	state  string
	memory types.ManagedInternal
	// key is the KeyID of the agent's, heard that of the agent whose heartbeat is the newest: of a former one while it is replaced.
	key, heard string
	// seen is when that agent was heard.
	seen time.Time
}

// connected reports whether the agent that was installed speaks. One of an earlier release does not say its key; where no former one can
// speak it is the one.
func (in input) connected() bool {
	switch {
	case in.key == "":
		return false
	case in.heard == "":
		return len(in.memory.FormerKeys) == 0 && in.seen.After(in.memory.InstalledAt)
	}
	return in.heard == in.key
}

// plan decides, and when to look again for wait.
func plan(in input) (action, time.Duration) {
	m := in.memory
	if arm.Terminal(in.state) {
		return nothing, 0
	}
	if left := m.Claimed.Sub(in.now); left > 0 {
		return wait, left
	}
	switch {
	case in.state == arm.StateDeleting:
		return uninstall, 0
	case m.Installed < m.Generation:
		return install, 0
	case in.connected():
		return succeed, 0
	case in.now.Sub(m.InstalledAt) < patience:
		return wait, poll
	}
	return giveUp, 0
}
