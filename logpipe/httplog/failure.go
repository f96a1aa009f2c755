package httplog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"

	"github.com/stelelog/stele/internal/chatjson"
)

// failure is why a call did not end well. Its text becomes the body of the error record.
type failure struct {
	kind string
	text string
	err  error
}

func (f *failure) Error() string {
	if f.err == nil {
		return f.text
	}
	return f.text + ": " + f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// ErrorType is the attribute error.type, see [logpipe.Call.End].
func (f *failure) ErrorType() string { return f.kind }

// ended is the failure of a call whose context ended first. A cause that is neither kind of end counts as a cancellation.
func ended(cause error) *failure {
	return classify(cause, "canceled", "the request ended before its answer")
}

// classify turns an error into a failure of its own kind, else of the given one.
func classify(err error, kind, text string) *failure {
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		kind = "canceled"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, http.ErrHandlerTimeout), errors.As(err, &timeout) && timeout.Timeout():
		kind = "timeout"
	case errors.Is(err, io.ErrUnexpectedEOF) && kind == "transport":
		kind = "cut"
	}
	return &failure{kind, text, err}
}

// interrupted tells how a handler ended that did not return: v is what it panicked with, nil after runtime.Goexit.
func interrupted(v any) *failure {
	err, isError := v.(error)
	switch {
	case v == nil:
		return &failure{"aborted", "the handler's goroutine exited", nil}
	case isError && errors.Is(err, http.ErrAbortHandler):
		return &failure{"aborted", "the handler aborted the answer", nil}
	}
	return &failure{"panic", fmt.Sprintf("panic: %v", v), nil}
}

// maxMessage bounds the text of an error record: what a handler panics with, say, may be anything.
const maxMessage = 8 << 10

// refusal is the failure that an answer tells of.
func refusal(status int, a *chatjson.Response) *failure {
	f := &failure{kind: "_OTHER", text: "the answer holds an error"}
	if status >= http.StatusBadRequest {
		f.kind = strconv.Itoa(status)
		f.text = "HTTP " + f.kind + " " + http.StatusText(status)
	}
	if isCode(a.ErrorType) {
		f.kind = a.ErrorType
	}
	if a.ErrorMessage != "" {
		f.text += ": " + a.ErrorMessage
	}
	return f
}

// isCode reports whether s can stand in clear as a type of error: a short word, no sentence.
func isCode(s string) bool {
	for _, c := range []byte(s) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return 0 < len(s) && len(s) <= 64
}
