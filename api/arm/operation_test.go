package arm

import (
	"encoding/json"
	"testing"
	"time"
)

func TestOperationStatusOnTheWire(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.FixedZone("x", 3600))
	raw, err := json.Marshal(OperationStatus{ID: "/o", Name: "o", Status: StateFailed, StartTime: FormatTime(at), EndTime: FormatTime(time.Time{}), Error: Errorf(409, "C", "m %d", 1)})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"id":"/o","name":"o","status":"Failed","startTime":"2026-01-02T02:04:05.000006Z","error":{"code":"C","message":"m 1"}}`
	if string(raw) != want {
		t.Errorf("got  %s\nwant %s", raw, want)
	}
}

func TestTerminal(t *testing.T) {
	for state, want := range map[string]bool{"Succeeded": true, "failed": true, "Canceled": true, "Creating": false, "": false} {
		if Terminal(state) != want {
			t.Errorf("Terminal(%q) is %t", state, !want)
		}
	}
}
