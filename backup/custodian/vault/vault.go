// Package vault is a custodian on the Transit engine of HashiCorp Vault or OpenBao: one transit key for each generation,
// which cannot be exported or backed up in clear, and is deleted when the generation is.
//
// Deleting is class C unless the operator declares B. Vault keeps its old barrier keys, so an old snapshot of its storage,
// together with the unseal keys, brings a deleted transit key back: what is deleted is irrecoverable when the last snapshot
// and backup from before is gone. If that time is bounded, declare class B with it. A is refused.
//
// Give Stele a mount of its own. Wrap must never make a key, so Create switches off, for the mount, that encrypting makes
// missing keys.
package vault

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/stelelog/stele/backup/custodian"
)

// Config says where the engine is.
type Config struct {
	// Address is scheme, host and port, such as https://vault.example.com:8200. Plain http sends token and shares in clear.
	Address string
	// Mount is the path of the Transit engine. Empty means transit.
	Mount string
	// Namespace is that of Vault Enterprise or OpenBao. Empty means none.
	Namespace string
	// Token returns the token. It is asked before each request, so that a renewed one is taken at once.
	Token func() (string, error)
	// RootCAs are trusted to vouch for the server. Nil means those of the system. Not used with Transport.
	RootCAs *x509.CertPool
	// Transport carries the requests. Nil means one of its own.
	Transport http.RoundTripper
	// Erasure is what the operator declares: class C, which is also the zero value, or B.
	Erasure custodian.Erasure
}

// Custodian is a [custodian.Custodian] on a Transit engine.
type Custodian struct {
	id       custodian.Identity
	client   *client
	mount    string
	erasure  custodian.Erasure
	declared bool
	now      func() time.Time
}

var _ custodian.Custodian = (*Custodian)(nil)

var validMount = regexp.MustCompile(`^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$`)

// Open returns the custodian in a Transit engine. It does not speak to the server yet: Status does.
func Open(config Config, id custodian.Identity) (*Custodian, error) {
	if err := id.Check(); err != nil {
		return nil, err
	}
	c := &Custodian{id: id, mount: strings.Trim(config.Mount, "/"), erasure: config.Erasure, declared: true, now: time.Now}
	if c.mount == "" {
		c.mount = "transit"
	}
	if c.erasure == (custodian.Erasure{}) {
		c.erasure.Class, c.declared = custodian.BestEffort, false
	}
	err := c.erasure.Check(custodian.Delayed, custodian.BestEffort)
	if err != nil {
		err = fmt.Errorf("%w: storage snapshots can bring a deleted key back: declare C, or B with how long snapshots are kept", err)
	}
	if err == nil && !validMount.MatchString(c.mount) {
		err = fmt.Errorf("%q is no path of a mount", config.Mount)
	}
	if err == nil {
		c.client, err = newClient(config)
	}
	if err != nil {
		return nil, &custodian.Error{Custodian: id.Name, Op: "open", Err: err}
	}
	return c, nil
}

// Close gives back idle connections.
func (c *Custodian) Close() error {
	c.client.http.CloseIdleConnections()
	return nil
}

// Create implements [custodian.Custodian].
func (c *Custodian) Create(ctx context.Context, generation uint64) (s custodian.Status, err error) {
	err = func() error {
		if err := c.refuseDestroyed(ctx, generation); err != nil {
			return err
		}
		if err := c.forbidUpsert(ctx); err != nil {
			return err
		}
		if err := c.makeKey(ctx, c.id.Label(generation)); err != nil {
			return err
		}
		// A Destroy that began in between may have taken the key before it was made again.
		if err := c.refuseDestroyed(ctx, generation); err != nil {
			return err
		}
		key, err := c.readKey(ctx, c.id.Label(generation))
		if err == nil {
			err = key.check()
		}
		if err == nil {
			s, err = c.status(ctx, generation, c.evidence(ctx))
		}
		return err
	}()
	return s, c.failed("create", generation, err)
}

// refuseDestroyed returns an error if Destroy has ever begun.
func (c *Custodian) refuseDestroyed(ctx context.Context, generation uint64) error {
	_, err := c.readKey(ctx, c.id.Label(generation)+destroying)
	switch {
	case err == nil:
		return custodian.ErrDestroyed
	case errors.Is(err, errNotFound):
		return nil
	}
	return err
}

const ciphertextPrefix = "vault:v1:"

// Wrap implements [custodian.Wrapper].
func (c *Custodian) Wrap(ctx context.Context, generation uint64, share custodian.Share) ([]byte, error) {
	in := struct {
		Plaintext []byte `json:"plaintext"`
		AAD       []byte `json:"associated_data"`
		Version   int    `json:"key_version"`
	}{share[:], c.id.AAD(generation), 1}
	var out struct {
		Ciphertext string `json:"ciphertext"`
	}
	err := c.client.call(ctx, http.MethodPost, c.mount+"/encrypt/"+c.id.Label(generation), in, &out)
	if err != nil {
		return nil, c.failed("wrap", generation, c.whyNot(ctx, generation, err))
	}
	blob := []byte(out.Ciphertext)
	if err := checkBlob(blob); err != nil {
		return nil, c.failed("wrap", generation, fmt.Errorf("the server returned no ciphertext of version 1: %w", err))
	}
	return blob, nil
}

// Unwrap implements [custodian.Wrapper].
func (c *Custodian) Unwrap(ctx context.Context, generation uint64, blob []byte) (share custodian.Share, err error) {
	if err := checkBlob(blob); err != nil {
		return share, c.failed("unwrap", generation, errors.Join(ctx.Err(), fmt.Errorf("%w: %w", custodian.ErrBlob, err)))
	}
	in := struct {
		Ciphertext string `json:"ciphertext"`
		AAD        []byte `json:"associated_data"`
	}{string(blob), c.id.AAD(generation)}
	var out struct {
		Plaintext []byte `json:"plaintext"`
	}
	defer func() { clear(out.Plaintext) }()
	err = c.client.call(ctx, http.MethodPost, c.mount+"/decrypt/"+c.id.Label(generation), in, &out)
	switch {
	case err != nil:
		err = c.whyNot(ctx, generation, err)
		if refused(err) == http.StatusBadRequest {
			err = fmt.Errorf("%w: %w", custodian.ErrBlob, err)
		}
	case len(out.Plaintext) != len(share):
		err = fmt.Errorf("%w: it holds %d bytes", custodian.ErrBlob, len(out.Plaintext))
	default:
		copy(share[:], out.Plaintext)
	}
	return share, c.failed("unwrap", generation, err)
}

// checkBlob lets through what has one spelling only: Vault takes version 0 for 1, and more than one spelling of base64.
func checkBlob(blob []byte) error {
	text, ok := bytes.CutPrefix(blob, []byte(ciphertextPrefix))
	if !ok || len(blob) > custodian.MaxBlob {
		return errors.New("it does not begin with " + ciphertextPrefix + ", or is too long")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err != nil || base64.StdEncoding.EncodeToString(raw) != string(text) {
		return errors.New("it is no base64")
	}
	return nil
}

// whyNot finds out whether a refused use was for want of a key. Without one the server answers 400 or, where the token may
// not create, 403.
func (c *Custodian) whyNot(ctx context.Context, generation uint64, err error) error {
	if status := refused(err); status != http.StatusBadRequest && status != http.StatusForbidden {
		return err
	}
	k, readErr := c.readKey(ctx, c.id.Label(generation))
	switch {
	case k.SoftDeleted:
		return fmt.Errorf("%w: somebody soft-deleted the key, restore it with keys/%s/soft-delete-restore", custodian.ErrUnavailable, k.Name)
	case !errors.Is(readErr, errNotFound):
		return err
	}
	switch destroyedErr := c.refuseDestroyed(ctx, generation); {
	case errors.Is(destroyedErr, custodian.ErrDestroyed):
		return destroyedErr
	case destroyedErr != nil:
		return errors.Join(destroyedErr, err)
	}
	return custodian.ErrUnknown
}

func (c *Custodian) failed(op string, generation uint64, err error) error {
	if err == nil {
		return nil
	}
	return &custodian.Error{Custodian: c.id.Name, Op: op, Generation: generation, Err: err}
}
