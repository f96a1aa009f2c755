package evidence

import (
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/merkle"
)

// nameSource is a policy or a roster: who may do what, from an entry of the control log on.
type nameSource struct {
	index uint64
	lines []string
	parts []namePart
	used  map[string]bool
	group *entryGroup
}

// rosters checks the policies and rosters, and what is shown of them.
func (c *checker) rosters() error {
	for _, e := range c.entries {
		if e.proof == nil || e.entry.Type != control.TypeRoster && e.entry.Type != control.TypePolicy {
			continue
		}
		if e.entry.By != c.rootKey.Name() {
			return failed(e.number, "a %s of %s, who is not the policy root", e.entry.Type, e.entry.By)
		}
		if _, err := note.Open([]byte(e.file), note.VerifierList(c.rootKey)); err != nil {
			return &FailedError{e.number, false, err}
		}
		s := nameSource{index: e.proof.Index, used: map[string]bool{}, group: e}
		version, err := s.read(e)
		if err != nil {
			return err
		}
		c.names = append(c.names, s)
		c.holds("archive", whatRoster, keyName(c.rootKey), fmt.Sprintf("%s of version %d, entry %d", e.entry.Type, version, s.index))
	}
	if len(c.names) == 0 {
		c.missing("archive", whatRoster, "who the access policy names")
	}
	return nil
}

// read takes the lines of an entry, or those that are shown.
func (s *nameSource) read(e *entryGroup) (version uint64, err error) {
	if e.entry.Type == control.TypePolicy {
		var p control.Policy
		if err := e.entry.Into(&p); err != nil {
			return 0, &FailedError{e.number, false, err}
		}
		s.lines = p.Names()
		return p.Version, nil
	}
	var r control.Roster
	if err := e.entry.Into(&r); err != nil {
		return 0, &FailedError{e.number, false, err}
	}
	for _, n := range e.lines {
		proof := merkle.InclusionProof{Index: uint64(n.index), Size: r.Names, Path: n.path}
		if err := proof.Verify(merkle.LeafHash([]byte(n.line)), r.Root); err != nil {
			return 0, &FailedError{n.number, false, fmt.Errorf("a line that is not in the roster: %w", err)}
		}
		s.lines = append(s.lines, n.line)
	}
	s.parts = e.lines
	return r.Version, nil
}

// use notes that a line was needed.
func (s *nameSource) use(line string) {
	s.used[line], s.group.used = true, true
}

// named returns the key of who was named in a role before an entry of the control log; nil if nothing in the file does.
func (c *checker) named(role, name string, before uint64) note.Verifier {
	for i := len(c.names) - 1; i >= 0; i-- {
		s := &c.names[i]
		if s.index >= before {
			continue
		}
		for _, line := range s.lines {
			vkey, ok := strings.CutPrefix(line, role+" ")
			if !ok || role == "writer" {
				continue
			}
			if v, err := newNamedKey(vkey); err == nil && v.Name() == name {
				s.use(line)
				return v
			}
		}
	}
	return nil
}

// writer returns what the policy calls the holder of a service key.
func (c *checker) writer(key []byte) (name string, index uint64, ok bool) {
	want := base64.StdEncoding.EncodeToString(key)
	for i := len(c.names) - 1; i >= 0; i-- {
		s := &c.names[i]
		for _, line := range s.lines {
			words := strings.SplitN(line, " ", 4)
			if words[0] != "writer" || len(words) < 3 || words[2] != want {
				continue
			}
			s.use(line)
			name = words[1]
			if len(words) == 4 {
				name += ", " + words[3]
			}
			return name, s.index, true
		}
	}
	return "", 0, false
}

// namedKey is a key that knows itself: two names of one key are one person.
type namedKey struct {
	note.Verifier
	public string // base64, without a name
}

func newNamedKey(vkey string) (note.Verifier, error) {
	v, err := note.NewVerifier(vkey)
	return &namedKey{v, vkey[strings.LastIndexByte(vkey, '+')+1:]}, err
}

// keyName is the name and hash of a key, as signatures have them.
func keyName(v note.Verifier) string { return fmt.Sprintf("%s+%08x", v.Name(), v.KeyHash()) }
