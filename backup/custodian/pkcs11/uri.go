package pkcs11

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// URI is a pkcs11: URI as in RFC 7512, parsed.
type URI struct {
	Token     Token
	Module    string            // module-path
	PINSource string            // pin-source
	Options   map[string]string // attributes of the query that the RFC leaves to others
}

// ParseURI reads a pkcs11: URI that names a token. A URI holds no PIN: one with pin-value is refused, and no error repeats
// what it holds. Names of objects are refused too: keys of generations have names of their own.
func ParseURI(uri string) (URI, error) {
	u := URI{Options: map[string]string{}}
	rest, ok := strings.CutPrefix(uri, "pkcs11:")
	if !ok {
		return u, errors.New("a PKCS#11 URI begins with pkcs11:, such as pkcs11:token=stele?module-path=/usr/lib/softhsm/libsofthsm2.so")
	}
	path, query, hasQuery := strings.Cut(rest, "?")
	seen := map[string]bool{}
	if path != "" {
		for part := range strings.SplitSeq(path, ";") {
			name, value, err := attribute(part, seen)
			if err == nil {
				err = u.pathAttribute(name, value)
			}
			if err != nil {
				return u, err
			}
		}
	}
	if !hasQuery {
		return u, nil
	}
	for part := range strings.SplitSeq(query, "&") {
		name, value, err := attribute(part, seen)
		if err == nil {
			err = u.queryAttribute(name, value)
		}
		if err != nil {
			return u, err
		}
	}
	return u, nil
}

func attribute(part string, seen map[string]bool) (name, value string, err error) {
	name, escaped, ok := strings.Cut(part, "=")
	if !ok || name == "" || len(name) > 32 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return "", "", errors.New("a PKCS#11 URI is name=value pairs, with ; between them before the ? and & behind it")
	}
	if seen[name] {
		return "", "", fmt.Errorf("%s is given twice", name)
	}
	seen[name] = true
	if value, err = url.PathUnescape(escaped); err != nil || value == "" || strings.ContainsRune(value, 0) {
		return "", "", fmt.Errorf("the value of %s is empty or not properly escaped", name)
	}
	return name, value, nil
}

func (u *URI) pathAttribute(name, value string) error {
	switch name {
	case "token":
		u.Token.Label = value
	case "serial":
		u.Token.Serial = value
	case "manufacturer":
		u.Token.Manufacturer = value
	case "model":
		u.Token.Model = value
	case "slot-id":
		slot, err := strconv.ParseUint(value, 10, strconv.IntSize)
		if err != nil {
			return errors.New("slot-id is no number")
		}
		n := uint(slot)
		u.Token.Slot = &n
	case "object", "id", "type":
		return fmt.Errorf("%s names an object; name the token only, the keys have names of their own", name)
	case "pin-value", "pin-source", "module-path":
		return fmt.Errorf("%s stands behind the ?, not before it", name)
	default:
		return fmt.Errorf("%s is not known here: name the token by token, serial, manufacturer, model or slot-id", name)
	}
	return nil
}

func (u *URI) queryAttribute(name, value string) error {
	switch name {
	case "module-path":
		u.Module = value
	case "pin-source":
		u.PINSource = value
	case "pin-value":
		return errors.New("a URI holds no PIN: set STELE_PKCS11_PIN, or name a file with pin-source=file:/path")
	case "module-name":
		return errors.New("module-name depends on the machine: give the library's path as module-path")
	default:
		u.Options[name] = value
	}
	return nil
}
