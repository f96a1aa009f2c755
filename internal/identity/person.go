package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Formats of the files of people.
const (
	ApproverFormat = "approver/v1"
	HolderFormat   = "holder/v1"
	publicFormat   = "public/v1"
)

// Person signs as an approver or a holder. Who has the pepper can check that a tag is of a value.
type Person struct {
	Stele   string `json:"stele"`
	Archive ID     `json:"archive"`
	Name    string `json:"name"`
	By      string `json:"by"`
	Key     []byte `json:"key"` // Ed25519 seed
	Pepper  []byte `json:"pepper,omitempty"`
}

// Public is the public half of a role file, signed with its private half: nobody enrols a key that they do not hold.
type Public struct {
	Stele   string `json:"stele"`
	Archive ID     `json:"archive"`
	Role    string `json:"role"`
	Name    string `json:"name"`
	Key     string `json:"key"`            // vkey
	HPKE    []byte `json:"hpke,omitempty"` // of a reader
}

// Sign writes the file.
func (p *Public) Sign(signer note.Signer) ([]byte, error) {
	p.Stele = publicFormat
	line, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	return note.Sign(&note.Note{Text: string(line) + "\n"}, signer)
}

// ParsePublic reads a public half and verifies that its holder made it.
func ParsePublic(file []byte) (*Public, error) {
	text, _, _ := strings.Cut(string(file), "\n\n")
	p := new(Public)
	if err := decode([]byte(text), publicFormat, p); err != nil {
		return nil, fmt.Errorf("public half: %w", err)
	}
	v, err := note.NewVerifier(p.Key)
	if err != nil {
		return nil, fmt.Errorf("public half of %s: %w", p.Name, err)
	}
	if _, err := note.Open(file, note.VerifierList(v)); err != nil {
		return nil, errors.New("public half: not signed by the key that it names; ask its holder for the file once more")
	}
	return p, nil
}

// PepperOf is the pepper in the content of a role file or credential, nil if it has none.
func PepperOf(file []byte) []byte {
	var head struct {
		Pepper []byte `json:"pepper"`
	}
	if json.Unmarshal(file, &head) != nil || len(head.Pepper) != 32 {
		return nil
	}
	return head.Pepper
}
