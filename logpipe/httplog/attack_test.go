package httplog_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/logpipe/httplog"
)

// dial opens a connection to s that nothing but the test uses.
func dial(t *testing.T, s *httptest.Server) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return c, bufio.NewReader(c)
}

// What is left of a request is never taken for the next one, which an attacker could write into it.
func TestRestOfABodyIsNoRequest(t *testing.T) {
	const smuggled = "POST /admin HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
	done := make(chan struct{})
	a, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path {
			t.Errorf("a body was read as a request for %s", r.URL.Path)
			return
		}
		http.NewResponseController(w).EnableFullDuplex()
		io.ReadFull(r.Body, make([]byte, 5))
		io.WriteString(w, reply)
		w.(http.Flusher).Flush()
		close(done)
	}, httplog.Options{})
	c, r := dial(t, s)
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nhello", path, 5+len(smuggled))
	<-done
	a.all(t) // the call has ended: nobody reads for the record any more
	io.WriteString(c, smuggled)
	c.(*net.TCPConn).CloseWrite()
	if all, _ := io.ReadAll(r); strings.Count(string(all), "HTTP/1.1 200") != 1 {
		t.Errorf("%s", all)
	}
	wantAttrs(t, a.one(t, logpipe.Input), map[string]string{"stele.body.truncated": "true"})
}

// A handler that answers before the request has come, and closes the connection, is not made to wait for its end.
func TestRefusalDoesNotWaitForTheRequest(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"WriteHeader": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		},
		"Write": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, refused)
		},
		"Flush": func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
		},
	} {
		for _, side := range []string{"server", "client"} {
			t.Run(name+" "+side, func(t *testing.T) {
				asked := "Connection: close\r\n"
				a, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
					if side == "server" {
						w.Header().Set("Connection", "close")
					}
					h(w, r)
					w.(http.Flusher).Flush()
				}, httplog.Options{})
				if side == "server" {
					asked = ""
				}
				c, r := dial(t, s)
				fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\n%sTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", path, asked)
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				c.Close()
				io.Copy(io.Discard, resp.Body)
				wantAttrs(t, a.one(t, logpipe.Input), map[string]string{"stele.body.truncated": "true"})
			})
		}
	}
}

// What net/http does with a request after its handler, it does behind the log, too.
func TestRequestIsCleanedUp(t *testing.T) {
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	f, _ := m.CreateFormFile("f", "f")
	f.Write(make([]byte, 64<<10))
	m.Close()
	var file string
	_, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(0); err != nil {
			t.Error(err)
			return
		}
		part, err := r.MultipartForm.File["f"][0].Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer part.Close()
		if disk, ok := part.(*os.File); ok {
			file = disk.Name()
		}
	}, httplog.Options{})
	t.Setenv("TMPDIR", t.TempDir())
	c, r := dial(t, s)
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		path, m.FormDataContentType(), form.Len(), form.String())
	io.Copy(io.Discard, r) // until the server has closed the connection, after it cleaned up
	if file == "" {
		t.Fatal("the form has no file")
	}
	if _, err := os.Stat(file); err == nil {
		t.Errorf("%s was left behind", file)
	}
}

func TestTrailersThatNobodyAnnounced(t *testing.T) {
	got := make(chan string, 1)
	_, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		got <- r.Trailer.Get("X-Sum")
	}, httplog.Options{})
	c, _ := dial(t, s)
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Sum: 7\r\n\r\n", path)
	if sum := <-got; sum != "7" {
		t.Errorf("trailer %q", sum)
	}
}

func TestLargeWriteToAStreamIsNotHeld(t *testing.T) {
	if held := httplog.HeldOfAStream(20 << 20); held > 1<<20 {
		t.Errorf("%d bytes of a stream are held", held)
	}
}
