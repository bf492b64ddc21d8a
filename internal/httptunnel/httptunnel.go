// Package httptunnel asks an HTTP proxy for a tunnel (CONNECT), where a client of HTTP cannot do it: for what is no HTTPS, or to hand the
// tunnel on.
package httptunnel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// ReasonHeader is where Fairlead's own proxy says why it refuses.
const ReasonHeader = "Fairlead-Reason"

// Ask makes conn, a connection to a proxy, a tunnel to target (host:port). header is sent along. After an error conn is of no more use.
func Ask(ctx context.Context, conn net.Conn, target string, header http.Header) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: header}
	if err := req.Write(conn); err != nil {
		return fmt.Errorf("asking for a tunnel: %w", err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return fmt.Errorf("reading the proxy's answer: %w", err)
	}
	if reason := resp.Header.Get(ReasonHeader); reason != "" {
		return fmt.Errorf("the proxy answered %s: %s", resp.Status, reason)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the proxy answered %s", resp.Status)
	}
	if r.Buffered() > 0 { // in what goes through, the client speaks first
		return errors.New("the proxy sent more than its answer")
	}
	return conn.SetDeadline(time.Time{})
}
