package link

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
)

// frame is one of the multiplexer's.
func frame(kind byte, flags uint16, stream uint32, body string) []byte {
	out := make([]byte, muxHeader, muxHeader+len(body))
	out[1] = kind
	binary.BigEndian.PutUint16(out[2:], flags)
	binary.BigEndian.PutUint32(out[4:], stream)
	binary.BigEndian.PutUint32(out[8:], uint32(len(body)))
	return append(out, body...)
}

// FuzzRelayFrames sends anything at all to either end of a relay. Neither may panic or hang, no handler may see a target that was not
// checked, and the control plane may take nothing but the cluster's word for an open stream.
func FuzzRelayFrames(f *testing.F) {
	const syn, window = 1, 1
	target := `{"kind":"run","namespace":"default","jobId":"0123456789abcdef0123456789abcdef"}` + "\n"
	f.Add(append(frame(window, syn, 1, ""), frame(muxTypeData, 0, 1, target)...))
	f.Add(append(frame(window, 2, 1, ""), frame(muxTypeData, 0, 1, "{}\n")...))
	f.Add(append(frame(window, syn, 1, ""), frame(muxTypeData, 4, 1, `{"kind":"kube"}`)...))
	f.Add(frame(2, syn, 0, ""))                                                         // ping
	f.Add(frame(3, 0, 0, ""))                                                           // go away
	f.Add(append(frame(muxTypeData, 0, 7, "")[:8], 0xff, 0xff, 0xff, 0xff))             // a length that nothing follows
	f.Add(append(frame(window, syn, 1, ""), frame(window, syn, 1, "")...))              // the same stream twice
	f.Add(append(frame(window, syn, 2, ""), frame(muxTypeData, 8, 2, "{\"kind\":")...)) // reset in the middle of a line
	f.Fuzz(func(t *testing.T, wire []byte) {
		atCluster(t, wire)
		atControlPlane(t, wire)
	})
}

// play gives one end of a connection whose peer sends wire, reads all that comes and leaves.
func play(t *testing.T, wire []byte) net.Conn {
	here, peer := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, peer) }()
	go func() {
		_, _ = peer.Write(wire)
		_ = peer.Close()
	}()
	t.Cleanup(func() { _ = here.Close() })
	return here
}

func atCluster(t *testing.T, wire []byte) {
	mux, err := yamux.Server(play(t, wire), muxConfig(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer mux.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		stream, err := mux.AcceptStreamWithContext(ctx)
		if err != nil {
			break
		}
		serveStream(ctx, stream, func(_ context.Context, target Target, _ net.Conn) {
			if err := target.Validate(); err != nil {
				t.Errorf("the handler got a target that is not allowed: %v", err)
			}
		})
	}
	if ctx.Err() != nil {
		t.Error("the cluster's end hangs")
	}
}

func atControlPlane(t *testing.T, wire []byte) {
	mux, err := yamux.Client(&frames{Conn: play(t, wire)}, muxConfig(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer mux.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := (&RelaySession{mux}).Open(ctx, Target{Kind: KindRun, Namespace: "default", JobID: "0123456789abcdef0123456789abcdef"})
	if ctx.Err() != nil {
		t.Error("the control plane's end hangs")
	}
	if err == nil {
		_ = stream.Close()
	}
}
