package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/hashicorp/yamux"
)

// Limits of the relay.
const (
	maxRelayLine = 4096
	relayLineAge = 10 * time.Second // for a Target to arrive once its stream is open
	keepAlive    = 10 * time.Second
	relayWindow  = 1 << 20 // bytes in flight of one stream
)

// relaySubprotocol names the frames carried in the WebSocket.
const relaySubprotocol = "fairlead.relay.v1"

// RefusedError is the cluster's "no" to a Target; its text is for people.
type RefusedError struct{ Message string }

// Error is the message.
func (e *RefusedError) Error() string { return "the cluster refused: " + e.Message }

// ServeRelay keeps one WebSocket to the control plane open until ctx ends, whose error it returns. Each stream that the
// control plane opens is handed to handle in a goroutine of its own, with its checked target; handle dials it, says how that
// went with AnswerTarget, and copies with Pipe. The stream is closed and its context ends when handle returns or the WebSocket breaks.
func ServeRelay(ctx context.Context, c *Client, handle func(ctx context.Context, t Target, stream net.Conn)) error {
	b := backoff{max: c.cfg.MaxBackoff}
	for {
		connected, err := serveRelayOnce(ctx, c, handle)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if connected {
			b.reset()
		}
		c.cfg.Log.Warn("the relay ended; connecting again", "err", err)
		if !b.wait(ctx) {
			return ctx.Err()
		}
	}
}

func serveRelayOnce(ctx context.Context, c *Client, handle func(context.Context, Target, net.Conn)) (connected bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	token, err := c.cfg.TokenSource(ctx)
	if err != nil {
		return false, fmt.Errorf("getting a token: %w", err)
	}
	dialCtx, cancelDial := context.WithTimeout(ctx, 30*time.Second)
	defer cancelDial()
	client, cork := corkedClient(c.http)
	//nolint:bodyclose // the body of an answer to a WebSocket's handshake needs no closing
	ws, res, err := websocket.Dial(dialCtx, c.cfg.Endpoint+RelayPath, &websocket.DialOptions{HTTPClient: client,
		HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}, Subprotocols: []string{relaySubprotocol}})
	if err != nil {
		if res != nil && res.StatusCode != http.StatusSwitchingProtocols {
			return false, c.refusal(res, token)
		}
		return false, err
	}
	session, err := yamux.Server(&frames{Conn: websocket.NetConn(ctx, ws, websocket.MessageBinary), cork: cork()}, muxConfig(c.cfg.Log))
	if err != nil {
		return false, fmt.Errorf("starting the relay session: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { session.Close() })
	defer stop()
	var streams sync.WaitGroup
	defer streams.Wait()
	defer cancel()
	defer session.Close()
	for {
		s, err := session.AcceptStream()
		if err != nil {
			return true, err
		}
		streams.Go(func() { serveStream(ctx, s, handle) })
	}
}

func serveStream(ctx context.Context, s net.Conn, handle func(context.Context, Target, net.Conn)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	_ = s.SetDeadline(time.Now().Add(relayLineAge))
	line, err := readRelayLine(s)
	if err != nil {
		return
	}
	t, err := ParseTarget(line)
	if err != nil {
		_ = AnswerTarget(s, err)
		return
	}
	_ = s.SetDeadline(time.Time{})
	handle(ctx, t, s)
}

// AnswerTarget is the cluster's line after a Target: nil says that the stream is a pipe from now on, an error why not.
func AnswerTarget(w io.Writer, refusal error) error {
	var o Opened
	if refusal != nil {
		o.Error = refusal.Error()
		if len(o.Error) > maxRelayLine/2 {
			o.Error = strings.ToValidUTF8(o.Error[:maxRelayLine/2], "")
		}
	}
	return writeRelayLine(w, o)
}

// Pipe copies both ways until one side ends or ctx does, then closes both. One direction's end is passed on where the connection
// can close its writing half alone.
func Pipe(ctx context.Context, a, b net.Conn) {
	stop := context.AfterFunc(ctx, func() { a.Close(); b.Close() })
	defer stop()
	defer a.Close()
	defer b.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(a, b)
		closeWrite(a)
	}()
	_, _ = io.Copy(b, a)
	closeWrite(b)
	<-done
}

func closeWrite(c net.Conn) {
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite()
		return
	}
	_ = c.Close()
}

// RelaySession is the control plane's end of one cluster's WebSocket.
type RelaySession struct{ mux *yamux.Session }

// AcceptRelay upgrades a request, which the caller has authenticated, to a session. When it errs it has answered the request.
func AcceptRelay(w http.ResponseWriter, r *http.Request, l *slog.Logger) (*RelaySession, error) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{relaySubprotocol}})
	if err != nil {
		return nil, fmt.Errorf("accepting the relay: %w", err)
	}
	if ws.Subprotocol() != relaySubprotocol {
		_ = ws.Close(websocket.StatusPolicyViolation, "the subprotocol must be "+relaySubprotocol)
		return nil, fmt.Errorf("accepting the relay: subprotocol %q is not %q", ws.Subprotocol(), relaySubprotocol)
	}
	mux, err := yamux.Client(&frames{Conn: websocket.NetConn(context.Background(), ws, websocket.MessageBinary)}, muxConfig(l))
	if err != nil {
		return nil, fmt.Errorf("starting the relay session: %w", err)
	}
	return &RelaySession{mux}, nil
}

// Open reaches a target through the cluster. It errs with *RefusedError when the cluster says no. ctx bounds the opening only.
func (s *RelaySession) Open(ctx context.Context, t Target) (net.Conn, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	stream, err := s.mux.OpenStream()
	if err != nil {
		return nil, fmt.Errorf("opening a relay stream: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = stream.SetDeadline(time.Unix(1, 0)) })
	opened, err := exchange(stream, t)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		stream.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("opening a relay stream: %w", err)
	}
	if opened.Error != "" {
		stream.Close()
		return nil, &RefusedError{opened.Error}
	}
	return stream, nil
}

func exchange(stream net.Conn, t Target) (o Opened, err error) {
	if err := writeRelayLine(stream, t); err != nil {
		return o, err
	}
	line, err := readRelayLine(stream)
	if err != nil {
		return o, err
	}
	return o, json.Unmarshal(line, &o)
}

// Done is closed when the session is over.
func (s *RelaySession) Done() <-chan struct{} { return s.mux.CloseChan() }

// Streams is how many streams are open.
func (s *RelaySession) Streams() int { return s.mux.NumStreams() }

// Close ends the session and all its streams.
func (s *RelaySession) Close() error { return s.mux.Close() }

func muxConfig(l *slog.Logger) *yamux.Config {
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	return &yamux.Config{AcceptBacklog: 256, EnableKeepAlive: true, KeepAliveInterval: keepAlive, ConnectionWriteTimeout: keepAlive,
		MaxStreamWindowSize: relayWindow, StreamOpenTimeout: 30 * time.Second, StreamCloseTimeout: time.Minute,
		Logger: log.New(slogWriter{l}, "", 0)}
}

type slogWriter struct{ l *slog.Logger }

// Write logs one line of the multiplexer.
func (w slogWriter) Write(p []byte) (int, error) {
	w.l.Debug("relay", "text", strings.TrimSpace(string(p)))
	return len(p), nil
}

// readRelayLine reads byte by byte, so that nothing after the newline is taken from the pipe; streams are buffered below.
func readRelayLine(r io.Reader) ([]byte, error) {
	var line []byte
	one := make([]byte, 1)
	for len(line) < maxRelayLine {
		if _, err := io.ReadFull(r, one); err != nil {
			return nil, err
		}
		if one[0] == '\n' {
			return line, nil
		}
		line = append(line, one[0])
	}
	return nil, errors.New("a relay line is longer than 4096 bytes")
}

func writeRelayLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
