package vault

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/stelelog/stele/backup/custodian"
)

// maxAnswer bounds what is read of an answer, in bytes. Ours have less than 2 KiB.
const maxAnswer = 1 << 20

// client speaks to one server.
type client struct {
	http      *http.Client
	address   *url.URL
	namespace string
	token     func() (string, error)
}

func newClient(config Config) (*client, error) {
	address, err := url.Parse(config.Address)
	switch {
	case err != nil || address.Host == "" || address.Scheme != "https" && address.Scheme != "http":
		return nil, errors.New("the address is no URL such as https://vault.example.com:8200: set VAULT_ADDR, or name the host")
	case address.User != nil || strings.Trim(address.Path, "/") != "" || address.RawQuery != "" || address.Fragment != "":
		return nil, errors.New("the address has more than scheme, host and port; the token belongs into VAULT_TOKEN or a file")
	case config.Token == nil:
		return nil, errors.New("no token: set VAULT_TOKEN, or name a file that holds one")
	}
	transport := config.Transport
	if transport == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.TLSClientConfig = &tls.Config{RootCAs: config.RootCAs, MinVersion: tls.VersionTLS12}
		own.ResponseHeaderTimeout = 30 * time.Second
		transport = own
	}
	// A standby sends clients to the active node. The token goes along, so never to a place without TLS.
	redirect := func(next *http.Request, via []*http.Request) error {
		if len(via) > 3 || next.URL.Scheme != via[0].URL.Scheme {
			return errors.New("the server redirects in circles, or to another scheme")
		}
		return nil
	}
	return &client{
		http:    &http.Client{Transport: transport, CheckRedirect: redirect, Timeout: time.Minute},
		address: address, namespace: config.Namespace, token: config.Token,
	}, nil
}

// refusal is an answer that says no.
type refusal struct {
	status int
	says   string // what the server says, joined
}

func (r *refusal) Error() string {
	if r.says == "" {
		return fmt.Sprintf("the server answered %d", r.status)
	}
	return fmt.Sprintf("the server answered %d: %s", r.status, r.says)
}

// refused returns the status of a refusal, or 0.
func refused(err error) int {
	var r *refusal
	if errors.As(err, &r) {
		return r.status
	}
	return 0
}

// errNotFound is a 404 about a key, not about the place where keys are.
var errNotFound = errors.New("not found")

// call sends one request and reads the member data of the answer into out, unless that is nil. What says that the server
// may answer later wraps custodian.ErrUnavailable.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
		defer clear(body)
	}
	token, err := c.token()
	if err != nil {
		return err
	}
	status, answer, err := c.send(ctx, method, path, token, body)
	if err != nil {
		return err
	}
	defer clear(answer)
	if status/100 != 2 {
		return c.refusal(status, answer)
	}
	if out == nil {
		return nil
	}
	var data struct {
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(answer, &data); err == nil {
		err = json.Unmarshal(data.Data, out)
		clear(data.Data)
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s %s: the answer is not that of a Transit engine: is this address a Vault or OpenBao server?", method, path)
}

// send returns any answer, whatever its status.
func (c *client) send(ctx context.Context, method, path, token string, body []byte) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.address.JoinPath("v1", path).String(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("X-Vault-Request", "true")
	if token != "" {
		request.Header.Set("X-Vault-Token", token)
	}
	if c.namespace != "" && token != "" {
		request.Header.Set("X-Vault-Namespace", c.namespace)
	}
	response, err := c.http.Do(request)
	if err == nil {
		defer response.Body.Close()
		var answer []byte
		answer, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
		if err == nil {
			return response.StatusCode, answer, nil
		}
	}
	if ctx.Err() != nil {
		return 0, nil, ctx.Err()
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return 0, nil, fmt.Errorf("%w: its certificate is not trusted: name the authority that signed it with ca=FILE or VAULT_CACERT: %w", custodian.ErrUnavailable, err)
	}
	return 0, nil, fmt.Errorf("%w: %w", custodian.ErrUnavailable, err)
}

func (c *client) refusal(status int, answer []byte) error {
	var text struct {
		Errors []string `json:"errors"`
	}
	_ = json.Unmarshal(answer, &text) // what is no JSON says nothing that we know
	r := &refusal{status, shorten(strings.Join(text.Errors, "; "))}
	switch {
	case status == http.StatusNotFound && r.says == "" && text.Errors != nil:
		return errNotFound
	case status == http.StatusNotFound:
		return fmt.Errorf("there is no Transit engine at this mount: enable it, or correct mount and namespace: %w", r)
	case status == http.StatusForbidden:
		return fmt.Errorf("the token is expired, or its policy does not allow this (docs/CUSTODIANS.md lists what is needed): %w", r)
	case status == http.StatusServiceUnavailable && strings.Contains(r.says, "sealed"):
		return fmt.Errorf("%w: the server is sealed, unseal it: %w", custodian.ErrUnavailable, r)
	case status == http.StatusTooManyRequests, status == http.StatusPreconditionFailed, status >= 470:
		return fmt.Errorf("%w: %w", custodian.ErrUnavailable, r)
	}
	return r
}

// shorten bounds what a server says in an error.
func shorten(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "…"
	}
	return text
}
