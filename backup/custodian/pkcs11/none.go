//go:build !(pkcs11 && cgo)

package pkcs11

import (
	"errors"

	"github.com/stelelog/stele/backup/custodian"
)

// Custodian is a [custodian.Custodian] on a PKCS#11 token. This build has none.
type Custodian struct{ custodian.Custodian }

// Open fails: this build has no PKCS#11.
func Open(config Config, id custodian.Identity) (*Custodian, error) {
	err := id.Check()
	if err == nil {
		_, err = config.checked()
	}
	if err == nil {
		err = errors.New("this binary was built without PKCS#11: build it with -tags pkcs11, with cgo and a C compiler")
	}
	return nil, &custodian.Error{Custodian: id.Name, Op: "open", Err: err}
}

// Close returns nil.
func (*Custodian) Close() error { return nil }
