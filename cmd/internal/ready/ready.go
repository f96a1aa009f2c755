// Package ready asks a compactor whether it gets on.
package ready

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	// Address is where a compactor serves its figures and /readyz if nobody says otherwise.
	Address = "127.0.0.1:9464"
	// Header of the answer to /readyz is the id of the archive.
	Header = "Stele-Archive"
)

// ErrOther says that what answers is no compactor of the archive.
var ErrOther = errors.New("something else answers there")

// Ask asks the compactor of an archive that serves its figures at address, [Address] if that is empty, what fails. It is
// empty if nothing does.
func Ask(ctx context.Context, address, archive string) (failing []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+cmp.Or(address, Address)+"/readyz", nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	switch {
	case err != nil:
		return nil, err
	case resp.Header.Get(Header) != archive:
		return nil, ErrOther
	case resp.StatusCode == http.StatusOK:
		return nil, nil
	}
	return strings.Split(strings.TrimSpace(string(page)), "\n"), nil
}
