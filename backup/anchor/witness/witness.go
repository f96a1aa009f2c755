// Package witness asks a witness to cosign heads of a log (c2sp.org/tlog-witness). A witness remembers the newest head of each
// log that it has cosigned, and refuses one that does not continue it: so there can be no second history that it has
// cosigned, too.
package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/cosign"
	"github.com/stelelog/stele/merkle"
)

const (
	timeout   = 10 * time.Second // of one request
	maxAnswer = 64 << 10
	rounds    = 4 // requests for one head: others may submit heads of the same log
)

// Client talks to one witness. It is safe for concurrent use.
type Client struct {
	name string
	key  note.Verifier
	url  string
	http *http.Client
}

// New returns a client for the witness with the given key (c2sp.org/tlog-cosignature, name+hash+base64) that takes
// checkpoints at url + "/add-checkpoint". name is for people.
func New(name, vkey, url string, client *http.Client) (*Client, error) {
	key, err := cosign.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("witness %s: %w", name, err)
	}
	if client == nil {
		client = http.DefaultClient
	}
	return &Client{name, key, strings.TrimSuffix(url, "/"), client}, nil
}

// Name is the name that New was given.
func (c *Client) Name() string { return c.name }

// ContradictionError says that the witness has cosigned another history than the one it was asked to cosign, or more of it.
type ContradictionError struct {
	Witness string
	Known   uint64 // size of the head that the witness has cosigned, in leaves
	Asked   uint64 // of the head that it was asked to cosign
}

// Error says which of the two it is.
func (e *ContradictionError) Error() string {
	if e.Known > e.Asked {
		return fmt.Sprintf("witness %s has cosigned a head of size %d, and this log has one of %d: it was rolled back", e.Witness, e.Known, e.Asked)
	}
	return fmt.Sprintf("witness %s has cosigned a head of size %d that the head of size %d does not continue: there are two histories", e.Witness, e.Known, e.Asked)
}

// Cosign has the witness cosign a signed checkpoint, which must be published before: nobody may be able to take it back. old is
// the size that it is believed to have cosigned last; prove proves from any smaller size. It returns the line with the
// cosignature. An error is a [*ContradictionError] if the witness knows of another history; every other one may be over later.
func (c *Client) Cosign(ctx context.Context, checkpoint []byte, old uint64, prove func(old uint64) (merkle.ConsistencyProof, error)) (line []byte, err error) {
	head, err := headOf(checkpoint)
	if err != nil {
		return nil, err
	}
	old = min(old, head.Size)
	for range rounds {
		proof, err := prove(old)
		if err != nil {
			return nil, err
		}
		answer, err := c.ask(ctx, old, proof, checkpoint)
		if err != nil {
			return nil, fmt.Errorf("witness %s: %w", c.name, err)
		}
		switch {
		case answer.status == http.StatusOK:
			return c.signature(checkpoint, answer.body)
		case answer.status == http.StatusConflict && answer.known > head.Size:
			return nil, &ContradictionError{c.name, answer.known, head.Size}
		case answer.status == http.StatusConflict && answer.known != old:
			old = answer.known
		case answer.status == http.StatusUnprocessableEntity, answer.status == http.StatusConflict:
			return nil, &ContradictionError{c.name, old, head.Size}
		default:
			return nil, fmt.Errorf("witness %s: %s", c.name, answer.text())
		}
	}
	return nil, fmt.Errorf("witness %s: it names another head each time; somebody else submits heads of this log", c.name)
}

type answer struct {
	status int
	known  uint64 // of a conflict
	body   []byte
}

func (a answer) text() string {
	reason := strings.TrimSpace(string(a.body[:min(len(a.body), 200)]))
	known := map[int]string{http.StatusNotFound: "it does not know this log: have its operator add it",
		http.StatusForbidden: "it does not accept the key of this log: have its operator correct it"}[a.status]
	return strings.Trim(fmt.Sprintf("%d %q; %s", a.status, reason, known), "; ")
}

func (c *Client) ask(ctx context.Context, old uint64, proof merkle.ConsistencyProof, checkpoint []byte) (a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var body bytes.Buffer
	fmt.Fprintf(&body, "old %d\n", old)
	for _, h := range proof.Path {
		fmt.Fprintf(&body, "%s\n", h)
	}
	body.WriteByte('\n')
	body.Write(checkpoint)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/add-checkpoint", &body)
	if err != nil {
		return a, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	a.status = response.StatusCode
	if a.body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer)); err != nil {
		return a, err
	}
	if a.status == http.StatusConflict {
		size, isSize := strings.CutSuffix(string(a.body), "\n")
		a.known, err = strconv.ParseUint(size, 10, 63)
		if err != nil || !isSize || response.Header.Get("Content-Type") != "text/x.tlog.size" {
			return a, fmt.Errorf("409, and no size: %.60q", a.body)
		}
	}
	return a, nil
}

// signature finds the line of the witness in its answer, and checks it.
func (c *Client) signature(checkpoint, lines []byte) ([]byte, error) {
	text, _, _ := bytes.Cut(checkpoint, []byte("\n\n"))
	n, err := note.Open(append(append(bytes.Clone(text), "\n\n"...), lines...), note.VerifierList(c.key))
	if err != nil {
		return nil, fmt.Errorf("witness %s: its answer is no cosignature by its key: %w", c.name, err)
	}
	return fmt.Appendf(nil, "— %s %s\n", n.Sigs[0].Name, n.Sigs[0].Base64), nil
}

// headOf reads what a signed checkpoint says. Who signed it is for others to check.
func headOf(checkpoint []byte) (c merkle.Checkpoint, err error) {
	text, _, ok := bytes.Cut(checkpoint, []byte("\n\n"))
	if !ok {
		return c, errors.New("no signed checkpoint")
	}
	err = c.UnmarshalText(append(bytes.Clone(text), '\n'))
	return c, err
}
