package router

import (
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/routerload"
	"fairlead.dev/fairlead/internal/router/front"
)

// Config is how a router is set up.
type Config struct {
	// HTTPAddr and HTTPSAddr take scoring requests; an empty one does not.
	HTTPAddr, HTTPSAddr string
	// InternalAddr answers the cluster's own parts.
	InternalAddr string
	// internal, in tests, listens on InternalAddr already.
	internal net.Listener
	// Self is the router's own internal address as others know it, and Namespace that of its Service; without Self it is alone.
	Self, Namespace string
	// TLSDir has cert.pem and key.pem.
	TLSDir string
	// MaxBody is the largest body of a request, in bytes.
	MaxBody int64
	// Origins are the web origins that may call from a browser.
	Origins []string
	// NetHTTP leaves every request to net/http, also those that the router would read faster itself.
	NetHTTP bool
	// HeaderTimeout is how long a caller may take to say what it wants; 0 is ten seconds.
	HeaderTimeout time.Duration
	// Grace is how long it takes requests after it was told to stop, Drain how long it has in all until it stops.
	Grace, Drain time.Duration
	// AccessLog gets a line for each request; nil for none.
	AccessLog io.Writer
}

// Bind reads the configuration from flags.
func (c *Config) Bind(fs *flag.FlagSet) {
	fs.StringVar(&c.HTTPAddr, "http-addr", "", "address for scoring over HTTP; empty for none")
	fs.StringVar(&c.HTTPSAddr, "https-addr", "", "address for scoring over HTTPS; empty for none")
	fs.StringVar(&c.InternalAddr, "internal-addr", ":"+itoa(routerload.Port), "address for the cluster's own parts")
	fs.StringVar(&c.TLSDir, "tls-dir", "/var/run/fairlead/tls", "folder with cert.pem and key.pem")
	fs.Int64Var(&c.MaxBody, "max-body", front.DefaultMaxBody, "largest body of a request in bytes")
	fs.Func("cors-origins", "web origins that may call from a browser, separated by commas, or *", func(s string) error {
		c.Origins = nil
		for origin := range strings.SplitSeq(s, ",") {
			if origin = strings.TrimSpace(origin); origin != "" {
				c.Origins = append(c.Origins, origin)
			}
		}
		return nil
	})
	fs.BoolVar(&c.NetHTTP, "net-http", false, "leave every request to Go's net/http: slower, to find out whether the router's own reader is to blame for something")
	fs.DurationVar(&c.Grace, "grace", 5*time.Second, "how long requests are taken after the signal to stop")
	fs.DurationVar(&c.Drain, "drain", 5*time.Minute, "how long what is in flight has to finish")
	fs.Func("peers", "namespace of the other routers; POD_IP is this one's address among them", func(namespace string) error {
		ip := os.Getenv("POD_IP")
		if ip == "" {
			return errors.New("POD_IP is not set; give it the pod's address (fieldRef status.podIP)")
		}
		c.Namespace, c.Self = namespace, net.JoinHostPort(ip, itoa(routerload.Port))
		return nil
	})
	c.AccessLog = os.Stdout
	fs.BoolFunc("no-access-log", "write no line for each request", func(string) error { c.AccessLog = nil; return nil })
}

func (c *Config) validate() error {
	switch {
	case c.HTTPAddr == "" && c.HTTPSAddr == "":
		return errors.New("neither http-addr nor https-addr is given: there is nothing to serve on")
	case c.InternalAddr == "":
		return errors.New("internal-addr is empty; the operator asks there for the load")
	case c.MaxBody < 0:
		return errors.New("max-body is negative; give the largest body in bytes, or 0 for the default")
	}
	return nil
}
