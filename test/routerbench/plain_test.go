package routerbench

import (
	"fmt"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"os"
	"sync"
)

type copyBuffers struct{ sync.Pool }

// Get implements httputil.BufferPool.
func (p *copyBuffers) Get() []byte { return *p.Pool.Get().(*[]byte) }

// Put implements httputil.BufferPool.
func (p *copyBuffers) Put(b []byte) { p.Pool.Put(&b) }

// runPlain is what the standard library gives who writes a proxy with it: key, split and nothing else.
func runPlain(c config) {
	transport := &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true}
	proxy := &httputil.ReverseProxy{
		Transport: transport, BufferPool: &copyBuffers{sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}},
		ErrorLog: log.New(os.Stderr, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetXForwarded()
			r.Out.URL.Scheme, r.Out.URL.Host = "http", c.Blue
			if rand.IntN(100) < 10 {
				r.Out.URL.Host = c.Green
			}
			r.Out.URL.Path = r.Out.URL.Path[len("/api/v1/endpoint/one"):]
			r.Out.Header.Del("Authorization")
		},
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+c.Key {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(w, r)
	})
	go func() { log.Fatal(http.ListenAndServe(c.HTTP, handler)) }()
	fmt.Fprintln(os.Stderr, http.ListenAndServeTLS(c.HTTPS, c.Cert, c.PrivateKey, handler))
	os.Exit(1)
}
