// Package identity is who is who: the trust file, the credentials of writers and the files of the roles.
// The formats are in docs/formats/identity.md.
package identity

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/cosign"
)

const trustHead = "stele-trust/v1"

// Trust is what an auditor starts from: public keys only.
type Trust struct {
	Archive [16]byte
	Name    string   // of the archive; prefix of its origins and key names
	Root    string   // vkey of the policy root
	Log     string   // vkey of the control log
	Anchors []string // vkeys of the operators of anchors
	Policy  []string // witness, group and quorum lines of the C2SP tlog-policy, verbatim
}

// ForeignError says that a trust file is of another archive than something else.
type ForeignError struct{ Why string }

func (e *ForeignError) Error() string { return e.Why }

// Origin is the origin of the control log.
func (t *Trust) Origin() string { return ControlOrigin(t.Name) }

// ControlOrigin is the origin of the control log of an archive.
func ControlOrigin(name string) string { return name + "/control" }

// RootName is the key name of the policy root.
func RootName(name string) string { return name + "/root" }

// KeyName is the key name of a role's key.
func KeyName(archive, role, name string) string { return archive + "/" + role + "/" + name }

// RootVerifier verifies what the policy root signed.
func (t *Trust) RootVerifier() (note.Verifier, error) { return note.NewVerifier(t.Root) }

// LogVerifier verifies checkpoints of the control log.
func (t *Trust) LogVerifier() (note.Verifier, error) { return note.NewVerifier(t.Log) }

// MarshalText writes the trust file.
func (t *Trust) MarshalText() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n", trustHead)
	fmt.Fprintf(&b, "# Public keys that verify the archive %s. Give this file to auditors over a channel that they trust.\n", t.Name)
	fmt.Fprintf(&b, "archive %x %s\nroot %s\n", t.Archive, t.Name, t.Root)
	for _, vkey := range t.Anchors {
		fmt.Fprintf(&b, "anchor %s\n", vkey)
	}
	fmt.Fprintf(&b, "log %s\n", t.Log)
	for _, line := range t.Policy {
		fmt.Fprintln(&b, line)
	}
	return b.Bytes(), nil
}

// UnmarshalText reads a trust file.
func (t *Trust) UnmarshalText(text []byte) error {
	*t = Trust{}
	scan := bufio.NewScanner(bytes.NewReader(text))
	first := true
	for n := 1; scan.Scan(); n++ {
		line := strings.TrimSpace(scan.Text())
		if line == "" || strings.HasPrefix(line, "#") && !first {
			continue
		}
		if first {
			if line != trustHead {
				return fmt.Errorf("line %d: this is no trust file that this stele can read (want %q)", n, trustHead)
			}
			first = false
			continue
		}
		if err := t.line(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := scan.Err(); err != nil {
		return err
	}
	if t.Name == "" || t.Root == "" || t.Log == "" {
		return errors.New("the trust file lacks one of archive, root, log")
	}
	return t.check()
}

func (t *Trust) line(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "archive":
		id, name, ok := strings.Cut(rest, " ")
		b, err := hex.DecodeString(id)
		if err != nil || len(b) != 16 || !ok || !ValidName(name) {
			return errors.New("want: archive <32 hex digits> <name>")
		}
		t.Archive, t.Name = [16]byte(b), name
	case "root":
		t.Root = rest
	case "anchor":
		t.Anchors = append(t.Anchors, rest)
	case "log":
		t.Log, _, _ = strings.Cut(rest, " ")
	case "witness", "group", "quorum":
		t.Policy = append(t.Policy, line)
	default:
		return fmt.Errorf("unknown word %q", word)
	}
	return nil
}

func (t *Trust) check() error {
	root, err := t.RootVerifier()
	if err != nil {
		return fmt.Errorf("root: %w", err)
	}
	log, err := t.LogVerifier()
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if root.Name() != RootName(t.Name) || log.Name() != t.Origin() {
		return fmt.Errorf("keys are named %s and %s, not %s and %s", root.Name(), log.Name(), RootName(t.Name), t.Origin())
	}
	names := map[string]bool{}
	for _, vkey := range t.Anchors {
		v, err := note.NewVerifier(vkey)
		if err != nil || names[v.Name()] {
			return fmt.Errorf("anchor %q: no key, or a second one of the same name", vkey)
		}
		names[v.Name()] = true
	}
	_, err = t.Cosigners()
	return err
}

// Cosigners is who has to cosign the heads of the control log.
func (t *Trust) Cosigners() (*cosign.Policy, error) { return cosign.Parse(t.Policy) }

// ValidName reports whether name can name an archive, a writer or a role: 1 to 63 of a–z 0–9 . -, no '.' or '-' at the ends.
func ValidName(name string) bool {
	if len(name) < 1 || len(name) > 63 || strings.Trim(name, ".-") != name {
		return false
	}
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.') {
			return false
		}
	}
	return true
}
