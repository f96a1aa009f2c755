package httplog

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/stelelog/stele/internal/chatjson"
	"github.com/stelelog/stele/logpipe"
)

// Beginner begins calls. *[logpipe.Pipe] is one.
type Beginner interface {
	Begin(context.Context, logpipe.Record) *logpipe.Call
}

// Options say what is captured and under which names. The zero value captures the usual paths and no identity.
// Hooks must be safe for concurrent use; one that panics is reported, and the call is captured without its answer.
type Options struct {
	// Paths are the ends of the paths whose POST requests are captured, from a slash on; one slash more at the end of a
	// request's path makes no difference. Default: /chat/completions /completions /responses /messages /embeddings
	// /api/chat /api/generate.
	Paths []string

	// Provider is gen_ai.provider.name. Default: at a client, what the host suggests; at a server, none.
	Provider string

	// Identify tells whose data a request is. Without it records have no tenant, subject and session: they are found by
	// time only, and erased with all others of their five minutes. Each is cut at 1,024 bytes, and bytes that are no
	// UTF-8 are replaced. It must not read the body.
	Identify func(*http.Request) (tenant, subject, session string)

	// Class gives the retention class of the records of a call; it is asked once for each of input, output and error,
	// before the body is read. What is no name of a class (1 to 32 of a-z, 0-9 and -) makes the pipe refuse the record.
	Class func(*http.Request, logpipe.Kind) string

	// Headers names the request and response headers to record. One that may hold a credential is not recorded even
	// so: any with auth, cookie, credential, key, passw, secret, session, signature or token in its name. Of each at most
	// 16 values are recorded, of each value 256 bytes.
	Headers []string

	// Attributes is a JSON object that every record gets, service.version say.
	Attributes []byte

	// MaxBody is how many bytes of a request and of an answer are kept; default 4 MiB. The rest is counted, and the
	// record marked. It must not be over the pipe's own limit. A call holds about twice this much memory at most.
	MaxBody int

	// OnError is told what went wrong in capturing. It must not block.
	OnError func(error)
}

const defaultMaxBody = 4 << 20

func (o Options) withDefaults() Options {
	if o.Paths == nil {
		o.Paths = []string{"/chat/completions", "/completions", "/responses", "/messages", "/embeddings", "/api/chat",
			"/api/generate"}
	}
	if o.MaxBody <= 0 {
		o.MaxBody = defaultMaxBody
	}
	var headers []string
	for _, name := range o.Headers {
		if !mayBeSecret(name) {
			headers = append(headers, http.CanonicalHeaderKey(name))
		}
	}
	o.Headers = headers
	return o
}

// newRecorder returns what Handler and NewTransport share.
func newRecorder(pipe Beginner, o Options) *recorder {
	rec := &recorder{pipe, o.withDefaults()}
	// Attributes that are no object would make the pipe refuse every record.
	if len(o.Attributes) > 0 && !chatjson.ParseRequest(o.Attributes).Valid {
		rec.o.Attributes = nil
		rec.report(errors.New("httplog: Options.Attributes is no JSON object and is left out"))
	}
	return rec
}

// wants reports whether r is to be captured.
func (o *Options) wants(r *http.Request) bool {
	if r.Method != http.MethodPost || r.URL == nil {
		return false
	}
	for _, p := range o.Paths {
		if strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), p) {
			return true
		}
	}
	return false
}

type callKey struct{}

// CallFrom returns the call that [Handler] captures, for a handler that has states to add ([logpipe.Call.State]) or
// attributes to set. Where nothing is captured it is a call that leads nowhere; it is never nil. The handler must not
// end it.
func CallFrom(ctx context.Context) *logpipe.Call {
	if c, ok := ctx.Value(callKey{}).(*logpipe.Call); ok {
		return c
	}
	nowhere := func(context.Context, *logpipe.Record) error { return nil }
	return logpipe.NewCall(ctx, nowhere, logpipe.Record{})
}
