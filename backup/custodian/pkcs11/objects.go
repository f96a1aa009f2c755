//go:build pkcs11 && cgo

package pkcs11

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/custodian/internal/envelope"
)

const (
	application = "stele" // CKA_APPLICATION of marks
	tagBits     = 128
)

// search returns all objects that have these attributes.
func (s *session) search(template ...*p11.Attribute) ([]p11.ObjectHandle, error) {
	if err := s.library.FindObjectsInit(s.handle, template); err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	var all []p11.ObjectHandle
	for {
		some, _, err := s.library.FindObjects(s.handle, 64)
		all = append(all, some...)
		if err != nil || len(some) == 0 {
			if err = errors.Join(err, s.library.FindObjectsFinal(s.handle)); err != nil {
				return nil, fmt.Errorf("search: %w", err)
			}
			return all, nil
		}
	}
}

// keys returns the secret keys on the token with a label: one, unless something went wrong.
func (s *session) keys(label string) ([]p11.ObjectHandle, error) {
	return s.search(p11.NewAttribute(p11.CKA_CLASS, p11.CKO_SECRET_KEY), p11.NewAttribute(p11.CKA_TOKEN, true),
		p11.NewAttribute(p11.CKA_LABEL, label))
}

// generate lets the token make a key that cannot leave it.
func (s *session) generate(label string, id []byte) (p11.ObjectHandle, error) {
	template := []*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, p11.CKO_SECRET_KEY), p11.NewAttribute(p11.CKA_KEY_TYPE, p11.CKK_AES),
		p11.NewAttribute(p11.CKA_VALUE_LEN, 32), p11.NewAttribute(p11.CKA_LABEL, label), p11.NewAttribute(p11.CKA_ID, id),
		p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_PRIVATE, true),
		p11.NewAttribute(p11.CKA_SENSITIVE, true), p11.NewAttribute(p11.CKA_EXTRACTABLE, false),
		p11.NewAttribute(p11.CKA_MODIFIABLE, false),
		p11.NewAttribute(p11.CKA_ENCRYPT, true), p11.NewAttribute(p11.CKA_DECRYPT, true),
		p11.NewAttribute(p11.CKA_WRAP, false), p11.NewAttribute(p11.CKA_UNWRAP, false),
		p11.NewAttribute(p11.CKA_SIGN, false), p11.NewAttribute(p11.CKA_VERIFY, false), p11.NewAttribute(p11.CKA_DERIVE, false),
	}
	mechanism := []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_KEY_GEN, nil)}
	strict := append(template[:len(template):len(template)],
		p11.NewAttribute(p11.CKA_COPYABLE, false), p11.NewAttribute(p11.CKA_DESTROYABLE, true))
	key, err := s.library.GenerateKey(s.handle, mechanism, strict)
	if is(err, p11.CKR_ATTRIBUTE_TYPE_INVALID, p11.CKR_ATTRIBUTE_VALUE_INVALID, p11.CKR_TEMPLATE_INCONSISTENT, p11.CKR_TEMPLATE_INCOMPLETE) {
		key, err = s.library.GenerateKey(s.handle, mechanism, template) // these two came with PKCS#11 2.40
	}
	if err != nil {
		return 0, fmt.Errorf("the token does not make the key: %w", err)
	}
	return key, nil
}

// attributes reads what the token made of a key, as true, false or unknown.
func (s *session) attributes(key p11.ObjectHandle) (map[string]string, error) {
	read := map[string]string{}
	for _, a := range []struct {
		code uint
		name string
	}{
		{p11.CKA_SENSITIVE, "sensitive"}, {p11.CKA_EXTRACTABLE, "extractable"}, {p11.CKA_ALWAYS_SENSITIVE, "always_sensitive"},
		{p11.CKA_NEVER_EXTRACTABLE, "never_extractable"}, {p11.CKA_LOCAL, "made_by_token"}, {p11.CKA_MODIFIABLE, "modifiable"},
		{p11.CKA_COPYABLE, "copyable"}, {p11.CKA_DESTROYABLE, "destroyable"},
	} {
		value, err := s.library.GetAttributeValue(s.handle, key, []*p11.Attribute{p11.NewAttribute(a.code, nil)})
		switch {
		case lost(err):
			return nil, err
		case err != nil || len(value) != 1 || len(value[0].Value) != 1:
			read[a.name] = "unknown"
		default:
			read[a.name] = fmt.Sprint(value[0].Value[0] != 0)
		}
	}
	return read, nil
}

// checkAttributes refuses a key that could have left the token, or cannot be destroyed.
func checkAttributes(read map[string]string) error {
	for name, want := range map[string]string{
		"sensitive": "true", "extractable": "false", "always_sensitive": "true", "never_extractable": "true", "made_by_token": "true",
	} {
		if read[name] != want {
			return fmt.Errorf("the key can leave the token, or could: %s is %s", name, read[name])
		}
	}
	if read["destroyable"] == "false" {
		return errors.New("the token says that the key cannot be destroyed")
	}
	return nil
}

// destroy destroys one object. One that is gone already is no fault.
func (s *session) destroy(object p11.ObjectHandle) error {
	err := s.library.DestroyObject(s.handle, object)
	switch {
	case err == nil, is(err, p11.CKR_OBJECT_HANDLE_INVALID):
		return nil
	case is(err, p11.CKR_ACTION_PROHIBITED):
		return fmt.Errorf("the token forbids to destroy the key: %w", err)
	}
	return fmt.Errorf("destroy object: %w", err)
}

// mark puts a data object with the time on the token.
func (s *session) mark(label string, at time.Time) error {
	_, err := s.library.CreateObject(s.handle, []*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, p11.CKO_DATA), p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_PRIVATE, true),
		p11.NewAttribute(p11.CKA_APPLICATION, application), p11.NewAttribute(p11.CKA_LABEL, label),
		p11.NewAttribute(p11.CKA_VALUE, []byte(at.UTC().Format(time.RFC3339Nano))),
	})
	if err != nil {
		return fmt.Errorf("the token keeps no data object, by which it would remember: %w", err)
	}
	return nil
}

// marked returns the latest time of a mark, or zero if there is none.
func (s *session) marked(label string) (latest time.Time, err error) {
	objects, err := s.search(p11.NewAttribute(p11.CKA_CLASS, p11.CKO_DATA), p11.NewAttribute(p11.CKA_TOKEN, true),
		p11.NewAttribute(p11.CKA_APPLICATION, application), p11.NewAttribute(p11.CKA_LABEL, label))
	if err != nil {
		return latest, err
	}
	for _, object := range objects {
		value, err := s.library.GetAttributeValue(s.handle, object, []*p11.Attribute{p11.NewAttribute(p11.CKA_VALUE, nil)})
		if err != nil {
			return latest, fmt.Errorf("read the mark %s: %w", label, err)
		}
		at, err := time.Parse(time.RFC3339Nano, string(value[0].Value))
		if err != nil || at.IsZero() {
			return latest, fmt.Errorf("the mark %s on the token is damaged: it holds no time", label)
		}
		if at.After(latest) {
			latest = at
		}
	}
	return latest, nil
}

// encrypt returns the blob of a share.
func (s *session) encrypt(key p11.ObjectHandle, share []byte, aad []byte) ([]byte, error) {
	iv := make([]byte, envelope.MinIV)
	_, _ = rand.Read(iv) // never fails, by its documentation
	params := p11.NewGCMParams(iv, aad, tagBits)
	defer params.Free()
	err := s.library.EncryptInit(s.handle, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_GCM, params)}, key)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	ciphertext, err := s.library.Encrypt(s.handle, share)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return envelope.Pack(params.IV(), ciphertext) // some tokens choose an IV of their own
}

// decrypt returns the share of a blob that is well-formed.
func (s *session) decrypt(key p11.ObjectHandle, iv, ciphertext, aad []byte) ([]byte, error) {
	params := p11.NewGCMParams(iv, aad, tagBits)
	defer params.Free()
	err := s.library.DecryptInit(s.handle, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_GCM, params)}, key)
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	share, err := s.library.Decrypt(s.handle, ciphertext)
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	return share, nil
}

// works tries a key out. Tokens have no return value of their own for a tag that is wrong; SoftHSM says "general error".
func (s *session) works(key p11.ObjectHandle) error {
	var probe custodian.Share
	_, _ = rand.Read(probe[:]) // never fails, by its documentation
	aad := []byte("stele/custodian-probe/v1")
	blob, err := s.encrypt(key, probe[:], aad)
	if err != nil {
		return err
	}
	iv, ciphertext, err := envelope.Unpack(blob)
	if err != nil {
		return err
	}
	got, err := s.decrypt(key, iv, ciphertext, aad)
	if err == nil && string(got) != string(probe[:]) {
		err = errors.New("the token decrypts to something else than it encrypted")
	}
	return err
}
