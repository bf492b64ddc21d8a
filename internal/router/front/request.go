package front

import (
	"net"
	"net/http"
	"strings"
)

// request is what the decisions know of a request, whichever reader it came through. Its strings may be the reader's, and end with it.
type request struct {
	// path is as it was written: nothing in it is decoded.
	method, path, host, remote string
	ip                         string // of remote
	major                      int
	// length is that of the body, -1 if it was not said.
	length          int64
	secure, upgrade bool
	header          header
}

// header finds the first value of a field by its canonical name; "" if there is none.
type header interface{ Get(name string) string }

func requestOf(r *http.Request) request {
	return request{
		method: r.Method, path: r.URL.EscapedPath(), host: r.Host, remote: r.RemoteAddr, ip: hostOf(r.RemoteAddr), major: r.ProtoMajor, length: r.ContentLength,
		secure: r.TLS != nil, upgrade: r.Header.Get("Upgrade") != "", header: r.Header,
	}
}

// hostOf is the host of an address, "" of what is none.
func hostOf(addr string) string {
	host, _, _ := net.SplitHostPort(addr)
	return host
}

func (r *request) isGRPC() bool {
	return r.major == 2 && strings.HasPrefix(r.header.Get("Content-Type"), "application/grpc")
}

// field is one of a header.
type field struct{ name, value string }

// toPod are the fields that the router sets in a request for a pod.
func (c *call) toPod(to []field) []field {
	to = append(to, field{HeaderRequestID, c.id}, field{HeaderDeployment, c.deployment.Name})
	if c.clientID != "" {
		to = append(to, field{HeaderClientRequestID, c.clientID})
	}
	proto := "http"
	if c.secure {
		proto = "https"
	}
	if c.ip != "" {
		to = append(to, field{"X-Forwarded-For", c.ip})
	}
	return append(to, field{"X-Forwarded-Host", c.host}, field{"X-Forwarded-Proto", proto})
}

// withheld says that a field of a request is not for the pod: the key, which opens the endpoint and is nothing to the model, and what the
// router sets itself.
func withheld(name string) bool {
	switch len(name) {
	case len("Authorization"):
		return strings.EqualFold(name, "Authorization")
	case len("Forwarded"):
		return strings.EqualFold(name, "Forwarded")
	case len(HeaderRequestID):
		return strings.EqualFold(name, HeaderRequestID)
	case len(HeaderEndpoint): // as long as the caller's request id
		return strings.EqualFold(name, HeaderEndpoint) || strings.EqualFold(name, HeaderClientRequestID)
	case len(HeaderDeployment):
		return strings.EqualFold(name, HeaderDeployment)
	case len("X-Forwarded-For"):
		return strings.EqualFold(name, "X-Forwarded-For")
	case len("X-Forwarded-Host"):
		return strings.EqualFold(name, "X-Forwarded-Host")
	case len("X-Forwarded-Proto"):
		return strings.EqualFold(name, "X-Forwarded-Proto")
	}
	return false
}

// toCaller are the fields that the router sets in an answer, its own and a pod's.
func (c *call) toCaller(to []field) []field {
	to = append(to, field{HeaderRequestID, c.id})
	if c.clientID != "" {
		to = append(to, field{HeaderClientRequestID, c.clientID})
	}
	if c.deployment != nil {
		to = append(to, field{HeaderDeployment, c.deployment.Name})
	}
	return c.cors.fields(to)
}

// replaced says that a field of a pod's answer does not reach the caller, since the router sets it or answers for it. Two answers to a
// browser's question would be none.
func (c *call) replaced(name string) bool {
	switch len(name) {
	case len(HeaderRequestID):
		return strings.EqualFold(name, HeaderRequestID)
	case len(HeaderClientRequestID):
		return strings.EqualFold(name, HeaderClientRequestID)
	case len(HeaderDeployment):
		if strings.EqualFold(name, HeaderDeployment) {
			return true
		}
	}
	const cors = "Access-Control-"
	return c.cors.asked() && len(name) > len(cors) && strings.EqualFold(name[:len(cors)], cors)
}

// answered decides what the status of a pod's answer is to the caller, and what is added to say so.
func (c *call) answered(status int, to []field) (int, []field) {
	if !c.scoring || status != http.StatusInternalServerError {
		return status, to
	}
	// The reference's table has 502 for an exception in run(), and 500 for the router's own.
	c.reason = "ModelError"
	return http.StatusBadGateway, append(to, field{headerModelStatus, "500"}, field{headerModelReason, "Internal Server Error"})
}

// set puts fields in a header; Vary says more each time.
func set(h http.Header, fields []field) {
	for _, f := range fields {
		if f.name == "Vary" {
			h.Add(f.name, f.value)
		} else {
			h.Set(f.name, f.value)
		}
	}
}
