//go:build pkcs11 && cgo

package pkcs11

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	p11 "github.com/miekg/pkcs11"

	"github.com/stelelog/stele/backup/custodian"
)

// session is a logged-in session with the token, opened when it is first needed and again when it was lost. One call at a
// time uses it: gate holds one value while none does. The other fields belong to whoever took it out.
type session struct {
	gate   chan struct{}
	config Config

	library  *p11.Ctx // loaded, and never unloaded: others in this process may use it
	open     bool
	handle   p11.SessionHandle
	token    p11.TokenInfo
	erasure  custodian.Erasure
	declared bool
	refused  [sha256.Size]byte // digest of a PIN that the token refused; zero if none
}

func newSession(config Config) *session {
	s := &session{gate: make(chan struct{}, 1), config: config}
	s.gate <- struct{}{}
	return s
}

// do runs a call in the session. If the session turns out to be lost, the call is run once more in a new one, so it must
// bear to be repeated from its beginning.
func (s *session) do(ctx context.Context, call func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.gate:
	}
	defer func() { s.gate <- struct{}{} }()
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := s.connect()
		if err == nil {
			err = s.loggedIn()
		}
		if err == nil {
			err = call()
			// A login that ended in the middle hides keys: what was not seen then proves nothing.
			if ended := s.loggedIn(); ended != nil {
				err = ended
			}
		}
		if passing(err) {
			return fmt.Errorf("%w: the token could not do it now: %w", custodian.ErrUnavailable, err)
		}
		if !lost(err) {
			return err
		}
		s.disconnect()
		if try == 2 {
			return fmt.Errorf("%w: the token or the session with it is gone: %w", custodian.ErrUnavailable, err)
		}
	}
}

// passing reports whether an error says no more than that something in the token went wrong: SoftHSM has no better one for
// another process that writes at the same time. What was half done is found by the next call.
func passing(err error) bool {
	return is(err, p11.CKR_GENERAL_ERROR, p11.CKR_FUNCTION_FAILED) && !errors.Is(err, custodian.ErrUnavailable)
}

// lost reports whether an error says that the session is no more, or the token not there.
func lost(err error) bool {
	var code p11.Error
	if !errors.As(err, &code) || errors.Is(err, custodian.ErrUnavailable) {
		return false
	}
	switch uint(code) {
	case p11.CKR_SESSION_HANDLE_INVALID, p11.CKR_SESSION_CLOSED, p11.CKR_USER_NOT_LOGGED_IN, p11.CKR_DEVICE_REMOVED,
		p11.CKR_DEVICE_ERROR, p11.CKR_TOKEN_NOT_PRESENT, p11.CKR_TOKEN_NOT_RECOGNIZED, p11.CKR_SLOT_ID_INVALID,
		p11.CKR_CRYPTOKI_NOT_INITIALIZED:
		return true
	}
	return false
}

// is reports whether err is one of these return values of the library.
func is(err error, codes ...uint) bool {
	var code p11.Error
	if !errors.As(err, &code) {
		return false
	}
	for _, c := range codes {
		if uint(code) == c {
			return true
		}
	}
	return false
}

// loggedIn returns an error that [lost] knows if the login ended: others in this process may log out for all of it, and
// private objects are then not refused but invisible.
func (s *session) loggedIn() error {
	info, err := s.library.GetSessionInfo(s.handle)
	if err == nil && info.State != p11.CKS_RW_USER_FUNCTIONS {
		err = p11.Error(p11.CKR_USER_NOT_LOGGED_IN)
	}
	return err
}

func (s *session) disconnect() {
	if s.open {
		_ = s.library.CloseSession(s.handle) // it may be gone, which is what is wanted
	}
	s.open = false
}

// close ends the session. The last session with a token ends its login.
func (s *session) close() error {
	<-s.gate
	defer func() { s.gate <- struct{}{} }()
	s.disconnect()
	return nil
}

func (s *session) connect() error {
	if s.open {
		return nil
	}
	if s.library == nil {
		if s.library = p11.New(s.config.Module); s.library == nil {
			return fmt.Errorf("the library %s cannot be loaded: is the path right, and the library made for this machine?", s.config.Module)
		}
	}
	if err := s.library.Initialize(); err != nil && !is(err, p11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		return fmt.Errorf("%w: the library %s does not start, is it configured (SoftHSM: SOFTHSM2_CONF)? %w", custodian.ErrUnavailable, s.config.Module, err)
	}
	slot, err := s.find()
	if err != nil {
		return err
	}
	if err := s.suitable(slot); err != nil {
		return err
	}
	if s.handle, err = s.library.OpenSession(slot, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION); err != nil {
		return fmt.Errorf("%w: no session with the token: %w", custodian.ErrUnavailable, err)
	}
	s.open = true
	if err := s.login(); err != nil {
		s.disconnect()
		return err
	}
	return nil
}

// find returns the slot of the one token that matches.
func (s *session) find() (uint, error) {
	slots, err := s.library.GetSlotList(true)
	if err != nil {
		return 0, fmt.Errorf("%w: the library lists no tokens: %w", custodian.ErrUnavailable, err)
	}
	var found []uint
	for _, slot := range slots {
		info, err := s.library.GetTokenInfo(slot)
		if err != nil || info.Flags&p11.CKF_TOKEN_INITIALIZED == 0 {
			continue // taken away between the two calls, or empty
		}
		if s.config.Token.matches(slot, info.Label, info.SerialNumber, info.ManufacturerID, info.Model) {
			found, s.token = append(found, slot), info
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return 0, fmt.Errorf("%w: %v is not there: is it connected, and does 'pkcs11-tool --list-token-slots' show it?", custodian.ErrUnavailable, s.config.Token)
	}
	return 0, fmt.Errorf("%v matches %d tokens: name the serial too", s.config.Token, len(found))
}

// suitable says why a token cannot be used.
func (s *session) suitable(slot uint) (err error) {
	s.erasure, s.declared, err = erasureOf(s.config.Erasure, s.token.ManufacturerID, s.token.Model)
	if err != nil {
		return err
	}
	if s.token.Flags&p11.CKF_WRITE_PROTECTED != 0 {
		return errors.New("the token is write-protected: keys could neither be made nor destroyed")
	}
	for _, m := range []struct {
		code uint
		name string
	}{{p11.CKM_AES_KEY_GEN, "CKM_AES_KEY_GEN"}, {p11.CKM_AES_GCM, "CKM_AES_GCM"}} {
		_, err := s.library.GetMechanismInfo(slot, []*p11.Mechanism{p11.NewMechanism(m.code, nil)})
		if is(err, p11.CKR_MECHANISM_INVALID) {
			return fmt.Errorf("the token has no %s: it cannot be a custodian", m.name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// login shows the PIN. One that was refused is not shown again, because tokens lock themselves after a few of those.
func (s *session) login() error {
	if s.token.Flags&p11.CKF_USER_PIN_LOCKED != 0 {
		return errors.New("the token has locked its PIN: its security officer can set a new one")
	}
	if s.token.Flags&p11.CKF_USER_PIN_FINAL_TRY != 0 {
		return errors.New("the token allows one last PIN: log in by hand to make sure of it, and clear the counter by that")
	}
	pin, err := s.config.PIN()
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(pin))
	refused := errors.New("the token refused this PIN; it is not tried again before it has changed: correct it")
	if digest == s.refused {
		return refused
	}
	err = s.library.Login(s.handle, p11.CKU_USER, pin)
	switch {
	case err == nil, is(err, p11.CKR_USER_ALREADY_LOGGED_IN):
		return nil
	case is(err, p11.CKR_PIN_INCORRECT, p11.CKR_PIN_INVALID, p11.CKR_PIN_LEN_RANGE):
		s.refused = digest
		return fmt.Errorf("%w: %w", refused, err)
	}
	return fmt.Errorf("login: %w", err)
}

// evidence is what the token says of itself.
func (s *session) evidence() map[string]string {
	return map[string]string{
		"token": s.token.Label, "serial": s.token.SerialNumber, "manufacturer": s.token.ManufacturerID, "model": s.token.Model,
		"firmware":  fmt.Sprintf("%d.%d", s.token.FirmwareVersion.Major, s.token.FirmwareVersion.Minor),
		"mechanism": strings.Join([]string{"CKM_AES_KEY_GEN", "CKM_AES_GCM"}, " "),
	}
}
