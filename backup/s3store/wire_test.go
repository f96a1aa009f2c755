package s3store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/s3store"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/testbed"
)

func mustHint(t *testing.T, name string, err error, hint string) {
	t.Helper()
	var e *s3store.Error
	if !errors.As(err, &e) || !strings.Contains(e.Hint, hint) {
		t.Errorf("%s: error %v, want an *Error with the hint %q", name, err, hint)
		return
	}
	for _, secret := range []string{"wrong-secret-key", "testbed-root-secret", "Signature=", "X-Amz-", "Credential=", "http://", "https://"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: error %q holds %q", name, err, secret)
		}
	}
}

type noNetwork struct{}

func (noNetwork) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("no network")
}

// lossy is a transport that drops replies: the request is served, the client sees a broken connection.
type lossy struct {
	drop func(*http.Request) bool
	next http.RoundTripper
	puts atomic.Int64
}

func (l *lossy) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method == http.MethodPut {
		l.puts.Add(1)
	}
	response, err := l.next.RoundTrip(request)
	if err == nil && l.drop(request) {
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		return nil, errors.New("connection reset by peer")
	}
	return response, err
}

// TestLostReply: the first reply to a PUT is lost, the client sends it again and meets its own object.
// That is fs.ErrExist, and the content is the caller's.
func TestLostReply(t *testing.T) {
	onServices(t, func(t *testing.T, service *testbed.S3) {
		var lost atomic.Bool
		transport := &lossy{next: http.DefaultTransport, drop: func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/commits/1") && lost.CompareAndSwap(false, true)
		}}
		c := config(service, service.Bucket(t))
		c.Transport = transport
		s := open(t, c)
		lock := worm.Lock{Mode: worm.LockCompliance, Until: time.Now().Add(time.Hour)}
		_, err := s.Create(t.Context(), "commits/1", []byte("mine"), lock)
		if !errors.Is(err, fs.ErrExist) || transport.puts.Load() != 2 {
			t.Errorf("error %v after %d requests, want fs.ErrExist after 2", err, transport.puts.Load())
		}
		if data, err := s.Read(t.Context(), "commits/1", "", worm.Range{}); err != nil || string(data) != "mine" {
			t.Errorf("read back %q, %v", data, err)
		}
	})
}

// TestAmbiguous: with no reply at all, and with a reply to the PUT but none to the reading back, the error
// is neither that the object exists nor that it does not; it is there.
func TestAmbiguous(t *testing.T) {
	service := testbed.MinIO(t)
	bucket := service.Bucket(t)
	for name, drop := range map[string]func(*http.Request) bool{
		"put":  func(r *http.Request) bool { return r.Method == http.MethodPut },
		"head": func(r *http.Request) bool { return r.Method == http.MethodHead },
	} {
		c := config(service, bucket)
		c.Transport = &lossy{next: http.DefaultTransport, drop: drop}
		_, err := open(t, c).Create(t.Context(), "commits/"+name, []byte(name), worm.Lock{})
		if err == nil || errors.Is(err, fs.ErrNotExist) || name == "head" && errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: error %v", name, err)
		}
		data, err := open(t, config(service, bucket)).Read(t.Context(), "commits/"+name, "", worm.Range{})
		if err != nil || string(data) != name {
			t.Errorf("%s: read back %q, %v", name, data, err)
		}
	}
}

// answer starts a server that gives one answer to every request and returns a config for it.
func answer(t *testing.T, handle http.HandlerFunc) s3store.Config {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return s3store.Config{
		Endpoint: server.Listener.Addr().String(), Region: "us-east-1", Bucket: "bucket",
		Credentials: s3store.Credentials{AccessKey: "key", SecretKey: "secret"},
	}
}

func refuse(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
	}
}

// TestAnswers covers answers that the services of the testbed cannot be made to give.
func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		status        int
		code, message string
		hint          string
		is            error
		permanent     bool
	}{
		{403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.", "clock", fs.ErrPermission, true},
		{403, "AccessDenied", "Access Denied", "permissions", fs.ErrPermission, true},
		{403, "AccountProblem", "There is a problem with your account.", "", fs.ErrPermission, true},
		{400, "ExpiredToken", "The provided token has expired.", "new credentials", nil, true},
		{301, "PermanentRedirect", "The bucket must be addressed elsewhere.", "wrong region", nil, true},
		{404, "NoSuchBucket", "The specified bucket does not exist", "no such bucket", nil, true},
		{507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.", "full", nil, true},
		{400, "RequestTimeout", "Your socket connection was not read from within the timeout period.", "", nil, false},
	} {
		c := answer(t, refuse(test.status, test.code, test.message))
		_, err := s3store.Open(t.Context(), c)
		mustHint(t, test.code, err, test.hint)
		if test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: %v does not wrap %v", test.code, err, test.is)
		}
		if errors.Is(err, worm.ErrPermanent) != test.permanent {
			t.Errorf("%s: that trying again does not mend it is %v, want %v", test.code, !test.permanent, test.permanent)
		}
	}
}

// TestConflict: 409 is what AWS says to one of two racing writers, or to both; it decides nothing.
func TestConflict(t *testing.T) {
	c := answer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, "<ListVersionsResult></ListVersionsResult>")
			return
		}
		refuse(409, "ConditionalRequestConflict", "conflicting conditional operation")(w, r)
	})
	_, err := open(t, c).Create(t.Context(), "k", nil, worm.Lock{})
	if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want a plain one", err)
	}
}

// TestUnenforcedLock: a service that ignores the lock headers must not pass for one that locks.
func TestUnenforcedLock(t *testing.T) {
	for name, header := range map[string]map[string]string{
		"none":   nil,
		"weaker": {"X-Amz-Object-Lock-Mode": "GOVERNANCE", "X-Amz-Object-Lock-Retain-Until-Date": "2999-01-01T00:00:00Z"},
		"short":  {"X-Amz-Object-Lock-Mode": "COMPLIANCE", "X-Amz-Object-Lock-Retain-Until-Date": "2026-01-01T00:00:00Z"},
	} {
		c := answer(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			for k, v := range header {
				w.Header().Set(k, v)
			}
			switch {
			case r.URL.Query().Has("retention"):
				refuse(404, "NoSuchObjectLockConfiguration", "no retention")(w, r)
			case r.Method == http.MethodGet:
				fmt.Fprint(w, "<ListVersionsResult></ListVersionsResult>")
			default:
				w.Header().Set("Content-Length", "0")
			}
		})
		lock := worm.Lock{Mode: worm.LockCompliance, Until: time.Now().AddDate(1, 0, 0)}
		_, err := open(t, c).Create(t.Context(), "k", nil, lock)
		if err == nil || !strings.Contains(err.Error(), "does not enforce") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// page is one page of a listing as a service sends it.
func page(next string, entries ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<ListVersionsResult><Name>bucket</Name><IsTruncated>%v</IsTruncated>", next != "")
	if next != "" {
		fmt.Fprintf(&b, "<NextKeyMarker>%s</NextKeyMarker><NextVersionIdMarker>x</NextVersionIdMarker>", next)
	}
	for _, e := range entries { // "kind key id second"
		var kind, key, id string
		var second int
		fmt.Sscan(e, &kind, &key, &id, &second)
		element := map[string]string{"v": "Version", "m": "DeleteMarker"}[kind]
		fmt.Fprintf(&b, "<%s><Key>%s</Key><VersionId>%s</VersionId><LastModified>2026-11-22T10:00:%02d.000Z</LastModified></%s>",
			element, key, id, second, element)
	}
	return b.String() + "</ListVersionsResult>"
}

func TestListingOrder(t *testing.T) {
	for _, test := range []struct {
		name  string
		pages []string
		want  string // ids
		fails bool
	}{
		{name: "mixed, as AWS", pages: []string{
			page("b", "v a a1 1", "v b b4 9", "m b b3 8"), page("", "v b b2 7", "v b b1 7", "v c c1 1")},
			want: "a1 b1 b2 b3 b4 c1"},
		{name: "the same second keeps the order of the service", pages: []string{
			page("", "v a a4 5", "m a a3 5", "m a a2 5", "v a a1 5")},
			want: "a1 a2 a3 a4"},
		{name: "markers first", pages: []string{
			page("", "m a a4 6", "m a a2 3", "m c c2 9", "v a a3 5", "v a a1 1", "v b b1 1", "v c c1 1")},
			want: "a1 a2 a3 a4 b1 c1 c2"},
		{name: "markers first, key over two pages, repeated entry", pages: []string{
			page("b", "m b b5 8", "v a a1 1", "v b b4 7"), page("", "m b b2 3", "m c c2 2", "v b b4 7", "v b b3 5", "v b b1 1", "v c c1 1")},
			want: "a1 b1 b2 b3 b4 b5 c1 c2"},
		{name: "only a marker", pages: []string{page("", "m a a1 1")}, want: "a1"},
		{name: "foreign keys", pages: []string{page("", "v .x x 1", "v a a1 1", "v a//b x 1", "v z/ x 1")}, want: "a1"},
		{name: "empty", pages: []string{page("")}, want: ""},
		{name: "out of order", pages: []string{page("c", "v b b1 1", "v c c1 1"), page("", "v a a1 1", "v d d1 1")}, want: "b1", fails: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var requests atomic.Int64
			c := answer(t, func(w http.ResponseWriter, r *http.Request) {
				// The first request is that of Open, which sees the first page as well.
				io.WriteString(w, test.pages[max(requests.Add(1)-2, 0)])
			})
			var ids []string
			var failed error
			for v, err := range open(t, c).Versions(t.Context(), "", "") {
				if err != nil {
					failed = err
					break
				}
				if v.Deleted != strings.Contains(strings.Join(test.pages, ""), "<DeleteMarker><Key>"+v.Key+"</Key><VersionId>"+v.ID+"<") {
					t.Errorf("kind of %+v", v)
				}
				ids = append(ids, v.ID)
			}
			if got := strings.Join(ids, " "); !test.fails && (got != test.want || failed != nil) || test.fails && failed == nil {
				t.Errorf("listed %q, %v; want %q", got, failed, test.want)
			}
		})
	}
}

// TestBrokenBody: a body that breaks off is asked for again, and in the end is an error, not short data.
func TestBrokenBody(t *testing.T) {
	for failures, good := range map[int64]bool{1: true, 100: false} {
		var requests atomic.Int64 // an aborted handler may still run when the next one begins
		c := answer(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("versions") {
				fmt.Fprint(w, "<ListVersionsResult></ListVersionsResult>")
				return
			}
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			w.Header().Set("Content-Length", "8")
			if requests.Add(1) <= failures {
				io.WriteString(w, "four")
				panic(http.ErrAbortHandler)
			}
			io.WriteString(w, "complete")
		})
		data, err := open(t, c).Read(t.Context(), "k", "", worm.Range{})
		if good != (err == nil && string(data) == "complete") || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after %d failures: %q, %v", failures, data, err)
		}
	}
}

// keeper is a transport that fails a PUT and keeps its body, as one may whose sending goroutine is late.
type keeper struct{ body io.Reader }

func (k *keeper) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method == http.MethodPut {
		k.body = request.Body
		return nil, errors.New("connection reset by peer")
	}
	return http.DefaultTransport.RoundTrip(request)
}

// TestDataNotRetained: once Create has returned nobody reads the caller's data any more.
func TestDataNotRetained(t *testing.T) {
	c := answer(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<ListVersionsResult></ListVersionsResult>")
	})
	k := &keeper{}
	c.Transport = k
	if _, err := open(t, c).Create(t.Context(), "k", []byte("mine again"), worm.Lock{}); err == nil {
		t.Error("no error")
	}
	if late, err := io.ReadAll(k.body); len(late) != 0 || err != nil {
		t.Errorf("read %q, %v", late, err)
	}
}

// TestDeadline: a service that does not answer is left when the context ends.
func TestDeadline(t *testing.T) {
	release := make(chan struct{})
	c := answer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, "<ListVersionsResult></ListVersionsResult>")
			return
		}
		<-release
	})
	defer close(release)
	s := open(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.Create(ctx, "k", make([]byte, 1<<20), worm.Lock{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestCredentialsHideSecrets(t *testing.T) {
	c := s3store.Config{Bucket: "b", Credentials: s3store.Credentials{AccessKey: "AK", SecretKey: "hidden", SessionToken: "hidden"}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(format, c); strings.Contains(s, "hidden") {
			t.Errorf("%s shows %s", format, s)
		}
	}
}
