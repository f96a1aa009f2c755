// Package byurl opens the custodian that a URL names:
//
//	file:///dir
//	pkcs11:token=LABEL[;serial=…]?module-path=/path/of/library.so[&pin-source=file:/path][&class=A]
//	vault://host[:port]/mount[?namespace=…][&ca=/path][&token_file=/path][&tls=false][&class=B&delay=30d]
//
// class and delay are what the operator declares of the device's backups (see [custodian.Erasure]); nothing said means C.
// A URL holds no secrets. The PIN of a token comes from its pin-source or STELE_PKCS11_PIN. The token of Vault or OpenBao
// comes from token_file, VAULT_TOKEN or VAULT_TOKEN_FILE; VAULT_ADDR (for vault:///mount), VAULT_NAMESPACE and VAULT_CACERT
// are taken where the URL is silent, and so are the names of OpenBao, which begin with BAO.
package byurl

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/custodian/file"
	"github.com/stelelog/stele/backup/custodian/pkcs11"
	"github.com/stelelog/stele/backup/custodian/vault"
)

// Custodian is a custodian that has to be closed.
type Custodian interface {
	custodian.Custodian
	io.Closer
}

// Options change how a custodian is opened. The zero Options are right for nearly everybody.
type Options struct {
	// Env looks up a variable of the environment. Nil means os.LookupEnv.
	Env func(name string) (string, bool)
	// Existing says that the custodian has keys: a directory that is missing is not made.
	Existing bool
}

// Open opens a custodian. Devices are not asked anything yet, so that one that is away at the moment keeps nobody from
// starting: Status asks. Errors say what to change, and never repeat what a URL should not hold.
func Open(rawURL string, id custodian.Identity, options Options) (Custodian, error) {
	if options.Env == nil {
		options.Env = os.LookupEnv
	}
	if err := id.Check(); err != nil {
		return nil, err
	}
	p, err := parse(rawURL)
	if err != nil {
		return nil, failed(id, err)
	}
	switch {
	case p.vault != nil:
		config, err := p.vault.config(options.Env)
		if err != nil {
			return nil, failed(id, err)
		}
		return opened(vault.Open(config, id))
	case p.token != nil:
		config, err := p.token.config(options.Env)
		if err != nil {
			return nil, failed(id, err)
		}
		return opened(pkcs11.Open(config, id))
	}
	if options.Existing {
		return opened(file.OpenExisting(p.dir, id))
	}
	return opened(file.Open(p.dir, id))
}

// opened keeps a nil pointer from becoming a Custodian that is not nil.
func opened[T Custodian](c T, err error) (Custodian, error) {
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Redact returns a URL as it may be shown: whole if it is well-formed, because then it holds no secret, else not at all.
func Redact(rawURL string) string {
	if _, err := parse(rawURL); err != nil {
		return "***"
	}
	return rawURL
}

func failed(id custodian.Identity, err error) error {
	return &custodian.Error{Custodian: id.Name, Op: "open", Err: err}
}

// parseErasure reads class and delay.
func parseErasure(class, delay string) (e custodian.Erasure, err error) {
	if class == "" && delay == "" {
		return e, nil
	}
	e.Class = custodian.Class(class)
	if delay != "" {
		if e.Delay, err = parseDuration(delay); err != nil {
			return e, err
		}
	}
	if class == "" {
		return e, errors.New("a delay is part of class B: write class=B&delay=30d")
	}
	return e, e.Check(custodian.Immediate, custodian.Delayed, custodian.BestEffort)
}

// parseDuration reads days, or what time.ParseDuration reads.
func parseDuration(text string) (time.Duration, error) {
	const day = 24 * time.Hour
	if number, ok := strings.CutSuffix(text, "d"); ok {
		if days, err := strconv.ParseUint(number, 10, 16); err == nil {
			return time.Duration(days) * day, nil
		}
	} else if d, err := time.ParseDuration(text); err == nil {
		return d, nil
	}
	return 0, errors.New("the delay is no duration such as 30d or 12h")
}

// secretFile returns a function that reads a secret from a file each time it is asked. Access by those in forbidden (of the
// file's mode) is refused.
func secretFile(what, path string, forbidden os.FileMode) func() (string, error) {
	return func() (string, error) {
		info, err := os.Stat(path)
		if err != nil {
			return "", fmt.Errorf("%s: %w", what, err)
		}
		if info.Mode().Perm()&forbidden != 0 {
			return "", fmt.Errorf("%s: %s has mode %04o, so others can read it: chmod 600 it", what, path, info.Mode().Perm())
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("%s: %w", what, err)
		}
		secret := strings.TrimRight(string(data), "\r\n")
		if secret == "" || len(secret) > 64<<10 || strings.ContainsAny(secret, "\r\n\x00") {
			return "", fmt.Errorf("%s: %s does not hold one line", what, path)
		}
		return secret, nil
	}
}

// fixed returns a function that returns a secret from the environment.
func fixed(secret string) func() (string, error) {
	return func() (string, error) { return secret, nil }
}
