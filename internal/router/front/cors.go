package front

import (
	"net/http"
	"slices"
)

// cors is what a browser is told that asks for a page of another origin.
type cors struct {
	// origin is the page's; "" when no browser asked, or the router is not to answer it.
	origin             string
	allowed, preflight bool
}

// corsOf decides what a browser is told. A preliminary question is answered with nothing else.
func (f *Front) corsOf(r *request) cors {
	if len(f.cfg.Origins) == 0 {
		return cors{}
	}
	c := cors{origin: r.header.Get("Origin")}
	if c.origin == "" {
		return c
	}
	c.allowed = slices.Contains(f.cfg.Origins, c.origin) || slices.Contains(f.cfg.Origins, "*")
	c.preflight = r.method == http.MethodOptions && r.header.Get("Access-Control-Request-Method") != ""
	return c
}

// asked says that the answer of a browser is the router's to give.
func (c *cors) asked() bool { return c.origin != "" }

func (c *cors) fields(to []field) []field {
	if !c.asked() {
		return to
	}
	to = append(to, field{"Vary", "Origin"})
	if !c.allowed {
		return to
	}
	to = append(to, field{"Access-Control-Allow-Origin", c.origin}, field{"Access-Control-Expose-Headers", HeaderRequestID + ", " + HeaderDeployment})
	if c.preflight {
		to = append(to, field{"Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"},
			field{"Access-Control-Allow-Headers", "Authorization, Content-Type, " + HeaderDeployment + ", " + HeaderClientRequestID}, field{"Access-Control-Max-Age", "600"})
	}
	return to
}
