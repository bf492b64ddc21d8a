// Package routerbench measures the router beside httputil.ReverseProxy, nginx, HAProxy, Caddy and Traefik: each on one processor, doing
// the same work as far as it can, with generator and models on the other. `make bench-router` runs it.
package routerbench
