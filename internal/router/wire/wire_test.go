package wire

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
)

func TestRequest(t *testing.T) {
	for head, ordinary := range map[string]bool{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":                                               true,
		"POST /a?b=%20 HTTP/1.1\r\nHost: x:80\r\nContent-Length: 5\r\n\r\n":               true,
		"POST / HTTP/1.1\r\nhost:x\r\nX: \t a b \t\r\nConnection: Close\r\n\r\n":          true,
		"POST / HTTP/1.1\r\nHost: x\r\nX: \xe4\r\nY:\r\n\r\n":                             true,
		"GET / HTTP/1.0\r\nHost: x\r\n\r\n":                                               false,
		"GET / HTTP/1.1\r\n\r\n":                                                          false,
		"GET / HTTP/1.1\nHost: x\r\n\r\n":                                                 false,
		"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n":                                    false,
		"GET / HTTP/1.1\r\nHost:\r\nHost: x\r\n\r\n":                                      false,
		"GET /%20 HTTP/1.1\r\nHost: x\r\n\r\n":                                            false,
		"GET /? HTTP/1.1\r\nHost: x\r\n\r\n":                                              false,
		"GET  / HTTP/1.1\r\nHost: x\r\n\r\n":                                              false,
		"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n":                                       false,
		"PRI * HTTP/2.0\r\n\r\n":                                                          false,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n":    false,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n":                        false,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5,5\r\n\r\n":                       false,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n":                           false,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\n":                        false,
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n":                false,
		"POST / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, X-Secret\r\n\r\n":          false,
		"POST / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n":                        false,
		"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n":                      false,
		"POST / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n":                                   false,
		"POST / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n":                                 false,
		"POST / HTTP/1.1\r\nHost: x\r\nX: a\rY: b\r\n\r\n":                                false,
		"POST / HTTP/1.1\r\nHost: x\r\nX: a\nY: b\r\n\r\n":                                false,
		"POST / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", MaxFields) + "\r\n": false,
	} {
		var r Request
		if got := r.Read([]byte(head)); got != ordinary {
			t.Errorf("%q is ordinary: %v", head, got)
		}
	}
}

// Whatever is taken for an ordinary request means the same to net/http.
func FuzzRequest(f *testing.F) {
	for _, head := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /a/b;c=d?e=f&g HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 5\r\nX: \ty \r\nConnection: close\r\n\r\nhello",
		"PUT //a HTTP/1.1\r\nhost: x\r\nConnection: keep-alive\r\nCookie: a=b\r\ncontent-length: 0\r\nX:\r\nX: z\r\n\r\n"} {
		f.Add([]byte(head))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		end := End(data)
		var r Request
		if end == 0 || !r.Read(data[:end]) {
			return
		}
		if Odd(data[:end]) {
			t.Error("ordinary, and odd")
		}
		want, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			t.Fatalf("net/http refuses it: %v", err)
		}
		if want.Method != r.Method || want.URL.Path != r.Path || want.URL.EscapedPath() != r.Path || want.URL.RawQuery != r.Query || want.Host != r.Host || want.RequestURI != target(&r) {
			t.Errorf("%+v, want %+v %q", r, want, want.URL)
		}
		if want.ContentLength != r.Length || want.TransferEncoding != nil || want.Close != r.Close || want.ProtoMinor != 1 {
			t.Errorf("length %d close %v, want %d %v %v", r.Length, r.Close, want.ContentLength, want.Close, want.TransferEncoding)
		}
		compare(t, &r.Fields, want.Header, "Host")
	})
}

func target(r *Request) string {
	if r.Query == "" {
		return r.Path
	}
	return r.Path + "?" + r.Query
}

// compare compares fields with net/http's, which takes some away.
func compare(t *testing.T, fields *Fields, want http.Header, taken ...string) {
	t.Helper()
	got := http.Header{}
	for _, f := range fields.All() {
		name := textproto.CanonicalMIMEHeaderKey(f.Name)
		got[name] = append(got[name], f.Value)
	}
	for _, name := range taken {
		got.Del(name)
	}
	for name := range want {
		if strings.Join(got[name], "\x00") != strings.Join(want[name], "\x00") || fields.Get(name) != want.Get(name) {
			t.Errorf("%s: %q, want %q", name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("fields %v, want %v", got, want)
	}
}

// Whatever is taken for an ordinary answer means the same to net/http.
func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello"), "POST")
	f.Add([]byte("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"), "GET")
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), "HEAD")
	f.Fuzz(func(t *testing.T, data []byte, method string) {
		end := End(data)
		var r Response
		if !ordinaryMethod(method) || end == 0 || !r.Read(data[:end], method) {
			return
		}
		want, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(data)), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("net/http refuses it: %v", err)
		}
		if want.StatusCode != r.Status || want.Close != r.Close || want.TransferEncoding != nil || want.ProtoMinor != 1 {
			t.Errorf("%+v, want %+v", r, want)
		}
		if method != "HEAD" && r.Status != 304 && r.HasLength && want.ContentLength != r.Length {
			t.Errorf("length %d, want %d", r.Length, want.ContentLength)
		}
		body, _ := io.ReadAll(want.Body)
		if rest := data[end:]; len(body) > int(r.Length) || string(body) != string(rest[:min(len(rest), int(r.Length))]) {
			t.Errorf("body %q of %q, length %d", body, rest, r.Length)
		}
		want.Header.Del("Connection") // net/http may have done so.
		compare(t, &r.Fields, want.Header, "Connection")
	})
}
