package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func idempotent(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodPut || method == http.MethodDelete
}

// retryableStatus says whether a status may pass by itself. 429 and 503 mean that nothing was done, so any method may be
// sent again; after 502 and 504 nobody knows, so only an idempotent one may.
func retryableStatus(status int, method string) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return idempotent(method)
	}
	return false
}

func retryableNet(err error) bool {
	var op *net.OpError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return true
	case errors.As(err, &op):
		var dns *net.DNSError
		return !errors.As(err, &dns)
	}
	return false
}

func backoff(attempt int) time.Duration {
	return time.Duration(250<<min(attempt, 5)) * time.Millisecond
}

// retryAfter reads Retry-After in seconds; otherwise def.
func retryAfter(h http.Header, def time.Duration) time.Duration {
	if s, err := strconv.Atoi(strings.TrimSpace(h.Get("Retry-After"))); err == nil && s >= 0 {
		return min(time.Duration(s)*time.Second, time.Minute)
	}
	return def
}

// ErrUnreachable: the control plane did not answer; the caller tells the user where it looked.
var ErrUnreachable = errors.New("the control plane cannot be reached")

// explainNet says in words what kept a request from being answered.
func explainNet(endpoint string, err error) error {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var cert *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.As(err, &unknown), errors.As(err, &cert) && !errors.As(err, &host):
		return fmt.Errorf("%w: its certificate at %s is not trusted (%w); pass --ca-file to login with the control plane's CA", ErrUnreachable, endpoint, rootCause(err))
	case errors.As(err, &op), errors.As(err, &host):
		return fmt.Errorf("%w at %s: %w", ErrUnreachable, endpoint, rootCause(err))
	}
	return err
}

func rootCause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
