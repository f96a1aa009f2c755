package custodian

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Attestation is the statement that the custodians of this module make: what their program saw, not signed by the device.
type Attestation struct {
	Identity
	Kind       string // file, pkcs11, vault
	Generation uint64
	State      State
	Class      Class
	Declared   bool      // the class is the operator's declaration
	Time       time.Time // when this was said
	Destroyed  time.Time
	From       time.Time // when it is irrecoverable; zero if that cannot be stated
	// Evidence is what the device said of itself and of the key.
	Evidence map[string]string
}

// maxEvidence bounds each member of the evidence, so that a device cannot fill a certificate.
const maxEvidence = 256

// attestation is the statement on the wire. Members are in the order of docs/formats/custodian.md.
type attestation struct {
	Stele         string            `json:"stele"`
	Custodian     string            `json:"custodian"`
	Kind          string            `json:"kind"`
	Archive       string            `json:"archive"`
	Generation    uint64            `json:"generation"`
	State         string            `json:"state"`
	Class         Class             `json:"class"`
	Declared      bool              `json:"declared"`
	Time          time.Time         `json:"time"`
	Destroyed     time.Time         `json:"destroyed,omitzero"`
	Irrecoverable time.Time         `json:"irrecoverable,omitzero"`
	Evidence      map[string]string `json:"evidence,omitempty"`
}

const attestationFormat = "custodian/v1"

// Marshal returns the statement's bytes. What a device says beyond 256 bytes, or that is no UTF-8, is cut off.
func (a Attestation) Marshal() ([]byte, error) {
	evidence := map[string]string{}
	for name, text := range a.Evidence {
		evidence[name] = clean(text)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(attestation{
		Stele: attestationFormat, Custodian: a.Name, Kind: a.Kind, Archive: hex.EncodeToString(a.Archive[:]),
		Generation: a.Generation, State: a.State.String(), Class: a.Class, Declared: a.Declared,
		Time: a.Time.UTC(), Destroyed: utc(a.Destroyed), Irrecoverable: utc(a.From), Evidence: evidence,
	})
	if err != nil {
		return nil, err
	}
	if out.Len() > MaxAttestation {
		return nil, fmt.Errorf("the statement has %d bytes, more than %d", out.Len(), MaxAttestation)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// ParseAttestation reads what Marshal wrote. It is for printing: a statement proves nothing by itself.
func ParseAttestation(data []byte) (Attestation, error) {
	var w attestation
	if len(data) > MaxAttestation {
		return Attestation{}, errors.New("the statement of a custodian is too long")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&w); err != nil {
		return Attestation{}, fmt.Errorf("the statement of a custodian: %w", err)
	}
	if w.Stele != attestationFormat {
		return Attestation{}, fmt.Errorf("the statement of a custodian has the format %q, not %s", w.Stele, attestationFormat)
	}
	a := Attestation{
		Identity: Identity{Name: w.Custodian}, Kind: w.Kind, Generation: w.Generation, Class: w.Class, Declared: w.Declared,
		Time: w.Time, Destroyed: w.Destroyed, From: w.Irrecoverable, Evidence: w.Evidence,
	}
	id, err := hex.DecodeString(w.Archive)
	if err != nil || len(id) != len(a.Archive) {
		return Attestation{}, errors.New("the statement of a custodian has no archive id")
	}
	copy(a.Archive[:], id)
	for _, s := range []State{Unknown, Live, Destroyed} {
		if s.String() == w.State {
			a.State = s
			return a, nil
		}
	}
	return Attestation{}, fmt.Errorf("the statement of a custodian has the state %q", w.State)
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}

// clean makes text from a device fit for a certificate: short, valid, printable.
func clean(text string) string {
	out := make([]rune, 0, len(text))
	for _, r := range text {
		if r == utf8.RuneError || r < ' ' || r == 0x7f {
			r = '?'
		}
		if len(string(out))+utf8.RuneLen(r) > maxEvidence {
			break
		}
		out = append(out, r)
	}
	return string(out)
}
