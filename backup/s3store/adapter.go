package s3store

import (
	"bytes"
	"context"
	"io"
	"net/http"
)

// adapter is a transport that helps where the S3 client hides or does not understand an answer.
type adapter struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (a adapter) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := a.next.RoundTrip(request)
	if err != nil || request.Method != http.MethodGet || response.StatusCode != http.StatusOK {
		return response, err
	}
	switch query := request.URL.Query(); {
	case query.Has("versions"):
		// The client makes one stream of all pages; where a page ends matters to us.
		if pages, ok := request.Context().Value(pagesKey{}).(*int); ok {
			*pages++
		}
	case query.Has("retention"):
		return response, renameRetention(response)
	}
	return response, nil
}

// renameRetention gives the answer of versitygw the element name that S3 documents. It is small.
func renameRetention(response *http.Response) error {
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return err
	}
	answer = bytes.ReplaceAll(answer, []byte("ObjectLockRetention"), []byte("Retention"))
	response.Body = io.NopCloser(bytes.NewReader(answer))
	response.ContentLength = int64(len(answer))
	return nil
}

type pagesKey struct{}

// countPages returns a context whose listings count their pages. A listing sends its requests from the
// goroutine that iterates, one after the other.
func countPages(ctx context.Context) (context.Context, *int) {
	pages := new(int)
	return context.WithValue(ctx, pagesKey{}, pages), pages
}
