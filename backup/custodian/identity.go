package custodian

import (
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
)

// Identity is for whom a custodian keeps keys, and under which name.
type Identity struct {
	Archive [16]byte // archive id
	Name    string   // of the custodian, as access policy and certificates call it: 1 to 32 of a-z 0-9 -
}

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// Check says what is wrong with an identity.
func (id Identity) Check() error {
	if id.Archive == [16]byte{} {
		return errors.New("custodian: no archive id is given")
	}
	if !validName.MatchString(id.Name) {
		return fmt.Errorf("custodian: %q is no name of a custodian: 1 to 32 of a-z 0-9 -, first and last no -", id.Name)
	}
	return nil
}

// AAD is what a blob is bound to. Every custodian whose device takes associated data uses it.
func (id Identity) AAD(generation uint64) []byte {
	aad := append([]byte("stele/custodian/v1"), id.Archive[:]...)
	aad = binary.LittleEndian.AppendUint64(aad, generation)
	return append(append(aad, byte(len(id.Name))), id.Name...)
}

// Label is a name for the key of a generation: at most 92 of a-z 0-9 -, and another one for every archive, custodian and
// generation.
func (id Identity) Label(generation uint64) string {
	return fmt.Sprintf("stele-%x-%s-%d", id.Archive, id.Name, generation)
}
