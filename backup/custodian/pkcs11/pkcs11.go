//go:build pkcs11 && cgo

package pkcs11

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/custodian/internal/envelope"
)

// Custodian is a [custodian.Custodian] on a PKCS#11 token. It holds one session, which its calls share in turn.
type Custodian struct {
	id      custodian.Identity
	session *session
	now     func() time.Time

	// unmarked says when this process first saw a key that is not finished. It belongs to whoever uses the session.
	unmarked map[uint64]time.Time
}

var _ custodian.Custodian = (*Custodian)(nil)

// The marks: that Create made the key, what Destroy is about to do, and what it has made sure of.
const (
	created    = ".created"
	destroying = ".destroying"
	destroyed  = ".destroyed"
)

// Open returns the custodian on a token. It does not ask the token yet: Status does. Close it when it is no longer used.
func Open(config Config, id custodian.Identity) (*Custodian, error) {
	err := id.Check()
	if err == nil {
		config, err = config.checked()
	}
	if err != nil {
		return nil, &custodian.Error{Custodian: id.Name, Op: "open", Err: err}
	}
	return &Custodian{id: id, session: newSession(config), now: time.Now, unmarked: map[uint64]time.Time{}}, nil
}

// Close ends the session with the token. A later call opens a new one.
func (c *Custodian) Close() error { return c.session.close() }

// keyID is the CKA_ID of a generation's key.
func (c *Custodian) keyID(generation uint64) []byte {
	sum := sha256.Sum256(c.id.AAD(generation))
	return sum[:16]
}

// Create implements [custodian.Custodian].
func (c *Custodian) Create(ctx context.Context, generation uint64) (s custodian.Status, err error) {
	err = c.session.do(ctx, func() error {
		if err := c.create(generation); err != nil {
			return err
		}
		s, err = c.status(generation, c.session.evidence())
		return err
	})
	return s, c.failed("create", generation, err)
}

func (c *Custodian) create(generation uint64) error {
	label, token := c.id.Label(generation), c.session
	begun, err := token.marked(label + destroying)
	if err != nil {
		return err
	}
	if !begun.IsZero() {
		return custodian.ErrDestroyed
	}
	made, err := token.marked(label + created)
	if err != nil {
		return err
	}
	all, err := token.keys(label)
	switch {
	case err != nil:
		return err
	case len(all) == 0 && !made.IsZero():
		return errors.New("the token made this key once, and it is gone without Destroy: restore the token, or use the next generation")
	case len(all) > 0 && made.IsZero():
		return c.takeOver(generation, all)
	case len(all) == 0:
		return c.make(generation)
	}
	key, err := c.key(generation)
	if err == nil {
		err = c.check(key)
	}
	return err
}

// abandoned is how long a key may be without its mark until its maker is taken for dead. It needs milliseconds.
const abandoned = 10 * time.Second

// takeOver is for a key without a mark: another process is about to make it, or died over that. Nobody has used it, because
// Wrap asks for the mark, so it may be replaced.
func (c *Custodian) takeOver(generation uint64, all []p11.ObjectHandle) error {
	first, seen := c.unmarked[generation]
	if !seen {
		first = c.now()
		c.unmarked[generation] = first
	}
	if c.now().Sub(first) < abandoned {
		return fmt.Errorf("%w: another process is making the key of this generation, or died over it: try again for %v", custodian.ErrUnavailable, abandoned)
	}
	for _, key := range all {
		if err := c.session.destroy(key); err != nil {
			return err
		}
	}
	return c.make(generation)
}

// make makes the key. Whoever finds that another process made one too, at the same time, takes its own away: the other one
// may be ahead.
func (c *Custodian) make(generation uint64) (err error) {
	label, token := c.id.Label(generation), c.session
	delete(c.unmarked, generation)
	key, err := token.generate(label, c.keyID(generation))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, token.destroy(key))
		}
	}()
	all, err := token.keys(label)
	if err != nil {
		return err
	}
	if len(all) != 1 {
		return fmt.Errorf("%w: another process is making the key of this generation", custodian.ErrUnavailable)
	}
	if err := c.check(key); err != nil {
		return err
	}
	begun, err := token.marked(label + destroying)
	if err != nil {
		return err
	}
	if !begun.IsZero() {
		return custodian.ErrDestroyed
	}
	return token.mark(label+created, c.now())
}

func (c *Custodian) check(key p11.ObjectHandle) error {
	read, err := c.session.attributes(key)
	if err == nil {
		err = checkAttributes(read)
	}
	return err
}

// key returns the key of a generation, or ErrUnknown.
func (c *Custodian) key(generation uint64) (p11.ObjectHandle, error) {
	all, err := c.session.keys(c.id.Label(generation))
	switch {
	case err != nil:
		return 0, err
	case len(all) == 0:
		return 0, custodian.ErrUnknown
	case len(all) > 1:
		return 0, fmt.Errorf("%w: the token has %d keys of this generation; if that does not pass in a second, somebody added one: "+
			"destroy the generation and use the next", custodian.ErrUnavailable, len(all))
	}
	return all[0], nil
}

// use calls do with the key of a generation.
func (c *Custodian) use(ctx context.Context, generation uint64, do func(p11.ObjectHandle) error) error {
	return c.session.do(ctx, func() error {
		key, err := c.key(generation)
		if !errors.Is(err, custodian.ErrUnknown) {
			if err == nil {
				err = do(key)
			}
			return err
		}
		begun, markErr := c.session.marked(c.id.Label(generation) + destroying)
		switch {
		case markErr != nil:
			return markErr
		case !begun.IsZero():
			return custodian.ErrDestroyed
		}
		return err
	})
}

// Wrap implements [custodian.Wrapper].
func (c *Custodian) Wrap(ctx context.Context, generation uint64, share custodian.Share) (blob []byte, err error) {
	err = c.use(ctx, generation, func(key p11.ObjectHandle) error {
		made, err := c.session.marked(c.id.Label(generation) + created)
		if err != nil {
			return err
		}
		if made.IsZero() {
			return fmt.Errorf("%w: the key of this generation is not finished: call Create again", custodian.ErrUnavailable)
		}
		blob, err = c.session.encrypt(key, share[:], c.id.AAD(generation))
		return err
	})
	return blob, c.failed("wrap", generation, err)
}

// Unwrap implements [custodian.Wrapper].
func (c *Custodian) Unwrap(ctx context.Context, generation uint64, blob []byte) (share custodian.Share, err error) {
	err = c.use(ctx, generation, func(key p11.ObjectHandle) error {
		iv, ciphertext, err := envelope.Unpack(blob)
		if err != nil {
			return fmt.Errorf("%w: %w", custodian.ErrBlob, err)
		}
		plain, err := c.session.decrypt(key, iv, ciphertext, c.id.AAD(generation))
		defer clear(plain)
		switch {
		case lost(err):
			return err
		case err != nil:
			if probe := c.session.works(key); probe != nil {
				return errors.Join(probe, err)
			}
			return fmt.Errorf("%w: %w", custodian.ErrBlob, err)
		case len(plain) != len(share):
			return fmt.Errorf("%w: it holds %d bytes", custodian.ErrBlob, len(plain))
		}
		copy(share[:], plain)
		return nil
	})
	return share, c.failed("unwrap", generation, err)
}

// Destroy implements [custodian.Custodian]: it marks what it begins, destroys the key, searches the token for what is left,
// and marks that it is done.
func (c *Custodian) Destroy(ctx context.Context, generation uint64) (s custodian.Status, err error) {
	err = c.session.do(ctx, func() error {
		evidence := c.session.evidence()
		before, err := c.status(generation, evidence)
		switch {
		case err != nil:
			return err
		case before.State == custodian.Unknown:
			return custodian.ErrUnknown
		case before.State == custodian.Destroyed:
			s = before
			return nil
		}
		if err := c.destroy(generation); err != nil {
			return err
		}
		evidence["objects_left"] = strconv.Itoa(0)
		s, err = c.status(generation, evidence)
		return err
	})
	return s, c.failed("destroy", generation, err)
}

func (c *Custodian) destroy(generation uint64) error {
	label, token := c.id.Label(generation), c.session
	begun, err := token.marked(label + destroying)
	if err == nil && begun.IsZero() {
		err = token.mark(label+destroying, c.now())
	}
	if err != nil {
		return err
	}
	all, err := token.keys(label)
	if err != nil {
		return err
	}
	for _, key := range all {
		if err := token.destroy(key); err != nil {
			return err
		}
	}
	byLabel, err := token.keys(label)
	if err != nil {
		return err
	}
	byID, err := token.search(p11.NewAttribute(p11.CKA_ID, c.keyID(generation)))
	if err != nil {
		return err
	}
	if err := token.loggedIn(); err != nil {
		return err
	}
	if len(byLabel)+len(byID) > 0 {
		return fmt.Errorf("the token still shows %d objects with the key's label and %d with its id after destroying them", len(byLabel), len(byID))
	}
	return token.mark(label+destroyed, c.now())
}

// Status implements [custodian.Custodian].
func (c *Custodian) Status(ctx context.Context, generation uint64) (s custodian.Status, err error) {
	err = c.session.do(ctx, func() error {
		s, err = c.status(generation, c.session.evidence())
		return err
	})
	return s, c.failed("status", generation, err)
}

func (c *Custodian) status(generation uint64, evidence map[string]string) (custodian.Status, error) {
	label, token := c.id.Label(generation), c.session
	s := custodian.Status{Class: token.erasure.Class}
	// First the key, then the marks: a Destroy in between must not make a destroyed generation look unknown.
	all, err := token.keys(label)
	if err != nil {
		return s, err
	}
	begun, err := token.marked(label + destroying)
	if err != nil {
		return s, err
	}
	done, err := token.marked(label + destroyed)
	if err != nil {
		return s, err
	}
	switch {
	case len(all) > 0, !begun.IsZero() && done.IsZero():
		s.State = custodian.Live
	case !done.IsZero():
		s.State, s.Destroyed, s.Irrecoverable = custodian.Destroyed, done, token.erasure.From(done)
	}
	if len(all) == 1 {
		read, err := token.attributes(all[0])
		if err != nil {
			return s, err
		}
		for name, value := range read {
			evidence[name] = value
		}
	}
	s.Attestation, err = custodian.Attestation{
		Identity: c.id, Kind: "pkcs11", Generation: generation, State: s.State, Class: s.Class, Declared: token.declared,
		Time: c.now(), Destroyed: s.Destroyed, From: s.Irrecoverable, Evidence: evidence,
	}.Marshal()
	return s, err
}

func (c *Custodian) failed(op string, generation uint64, err error) error {
	if err == nil {
		return nil
	}
	return &custodian.Error{Custodian: c.id.Name, Op: op, Generation: generation, Err: err}
}
