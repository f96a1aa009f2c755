package byurl

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/custodian/pkcs11"
	"github.com/stelelog/stele/backup/custodian/vault"
)

// parsed is what a URL says by itself: one of the three.
type parsed struct {
	dir   string
	token *tokenURL
	vault *vaultURL
}

type tokenURL struct {
	pkcs11.URI
	erasure custodian.Erasure
}

type vaultURL struct {
	host, mount string
	options     map[string]string
	erasure     custodian.Erasure
}

// parse reads a URL and nothing else. Errors show names of options, but no values: they may be secrets.
func parse(rawURL string) (p parsed, err error) {
	switch scheme, _, _ := strings.Cut(rawURL, ":"); scheme {
	case "file":
		p.dir, err = parseFile(rawURL)
	case "pkcs11":
		p.token, err = parsePKCS11(rawURL)
	case "vault":
		p.vault, err = parseVault(rawURL)
	default:
		err = errors.New("no URL of a custodian: write file:///dir, pkcs11:token=…?module-path=…, or vault://host/mount")
	}
	return p, err
}

func parseFile(rawURL string) (string, error) {
	rest, ok := strings.CutPrefix(rawURL, "file://")
	if !ok || !strings.HasPrefix(rest, "/") || strings.ContainsAny(rest, "?#") {
		return "", errors.New("a directory is named by file:/// and its absolute path, with %3F for a question mark and %23 for a #, " +
			"and has no options: its class is always C")
	}
	path, err := url.PathUnescape(rest)
	if err != nil || strings.ContainsRune(path, 0) {
		return "", errors.New("the path is not properly escaped")
	}
	if path = filepath.Clean(filepath.FromSlash(path)); path == string(filepath.Separator) {
		return "", errors.New("the root of the file system is no place for keys")
	}
	return path, nil
}

func parsePKCS11(rawURL string) (*tokenURL, error) {
	u, err := pkcs11.ParseURI(rawURL)
	if err != nil {
		return nil, err
	}
	for name := range u.Options {
		if name != "class" && name != "delay" {
			return nil, fmt.Errorf("unknown option %s: behind the ? stand module-path, pin-source, class and delay", name)
		}
	}
	t := &tokenURL{URI: u}
	t.erasure, err = parseErasure(u.Options["class"], u.Options["delay"])
	return t, err
}

// config adds what the URL does not hold.
func (t *tokenURL) config(env func(string) (string, bool)) (pkcs11.Config, error) {
	c := pkcs11.Config{Module: t.Module, Token: t.Token, Erasure: t.erasure}
	if t.PINSource == "" {
		if pin, ok := env("STELE_PKCS11_PIN"); ok && pin != "" {
			c.PIN = fixed(pin)
		}
		return c, nil
	}
	path := t.PINSource
	if rest, ok := strings.CutPrefix(path, "file:"); ok {
		path = strings.TrimPrefix(rest, "//")
	}
	if !filepath.IsAbs(path) {
		return c, errors.New("pin-source is no absolute path of a file, as in file:/etc/stele/pin; commands are not run")
	}
	c.PIN = secretFile("PIN of the token", path, 0o077)
	return c, nil
}

func parseVault(rawURL string) (*vaultURL, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Opaque != "" || u.Fragment != "" {
		return nil, errors.New("no URL such as vault://vault.example.com:8200/mount")
	}
	if u.User != nil {
		return nil, errors.New("a URL holds no token: set VAULT_TOKEN, or name a file with token_file=/path")
	}
	v := &vaultURL{host: u.Host, mount: strings.Trim(u.Path, "/")}
	if v.mount == "" {
		return nil, errors.New("no mount is named: write vault://host/mount, with the path of a Transit engine")
	}
	if u.Host != "" && u.Port() == "" {
		v.host = strings.TrimSuffix(u.Host, ":") + ":8200" // where a server listens unless told otherwise
	}
	if v.options, err = vaultOptions(u.RawQuery); err != nil {
		return nil, err
	}
	switch tls := v.options["tls"]; {
	case tls != "" && tls != "true" && tls != "false":
		return nil, errors.New("tls is true, which is usual, or false, which sends token and shares in clear")
	case tls != "" && u.Host == "":
		return nil, errors.New("without a host the address comes from VAULT_ADDR, and that says whether TLS is used: leave tls out")
	}
	v.erasure, err = parseErasure(v.options["class"], v.options["delay"])
	return v, err
}

// config adds what the URL does not hold.
func (v *vaultURL) config(env func(string) (string, bool)) (vault.Config, error) {
	fromEnv := func(name string) string {
		for _, prefix := range []string{"VAULT_", "BAO_"} {
			if value, ok := env(prefix + name); ok && value != "" {
				return value
			}
		}
		return ""
	}
	c := vault.Config{
		Mount: v.mount, Erasure: v.erasure,
		Namespace: cmp.Or(v.options["namespace"], fromEnv("NAMESPACE")),
		Address:   fromEnv("ADDR"),
	}
	switch {
	case v.host != "" && v.options["tls"] == "false":
		c.Address = "http://" + v.host
	case v.host != "":
		c.Address = "https://" + v.host
	case c.Address == "":
		return c, errors.New("no host: write vault://host/mount, or set VAULT_ADDR")
	}
	tokenFile := v.options["token_file"]
	if token := fromEnv("TOKEN"); tokenFile == "" && token != "" {
		c.Token = fixed(token)
	} else if tokenFile = cmp.Or(tokenFile, fromEnv("TOKEN_FILE")); tokenFile != "" {
		c.Token = secretFile("token", tokenFile, 0o007)
	}
	var err error
	if path := cmp.Or(v.options["ca"], fromEnv("CACERT")); path != "" {
		c.RootCAs, err = authorities(path)
	}
	return c, err
}

// vaultOptions reads the query. Values of unknown options are not shown: they may be secrets.
func vaultOptions(query string) (map[string]string, error) {
	known := []string{"namespace", "ca", "token_file", "tls", "class", "delay"}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, errors.New("what follows ? is not properly escaped")
	}
	options := map[string]string{}
	for name, given := range values {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("an unknown option: only %s are known, and secrets belong in the environment", strings.Join(known, ", "))
		}
		if len(given) != 1 || given[0] == "" {
			return nil, fmt.Errorf("option %s is empty or given twice", name)
		}
		options[name] = given[0]
	}
	return options, nil
}

func authorities(path string) (*x509.CertPool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("certificates of authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return pool, nil
}
