package evidence

import (
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
)

// nameSource is a policy or a roster: who may do what, from an entry of the control log on.
type nameSource struct {
	from  uint64 // size of the control log from which on it counts
	bound bool   // it is no entry that is shown to be there, but one that the entry at that size names
	lines []string
	used  map[string]bool
	group *entryGroup
}

// place says where in the control log it is.
func (s *nameSource) place() string {
	if s.bound {
		return fmt.Sprintf("before entry %d", s.from)
	}
	return fmt.Sprintf("entry %d", s.from-1)
}

// rosters checks the policies and rosters, and what is shown of them.
func (c *checker) rosters() error {
	for i, e := range c.entries {
		s := nameSource{used: map[string]bool{}, group: e}
		if err := c.bind(&s, i); err != nil {
			return err
		}
		if s.from == 0 || e.entry.Type != control.TypeRoster && e.entry.Type != control.TypePolicy {
			continue
		}
		if e.entry.By != c.rootKey.Name() {
			return failed(e.number, "a %s of %s, who is not the policy root", e.entry.Type, e.entry.By)
		}
		if _, err := note.Open([]byte(e.file), note.VerifierList(c.rootKey)); err != nil {
			return &FailedError{e.number, false, err}
		}
		version, err := s.read(e)
		if err != nil {
			return err
		}
		c.names = append(c.names, s)
		c.holds("archive", whatRoster, keyName(c.rootKey), fmt.Sprintf("%s of version %d, %s", e.entry.Type, version, s.place()))
	}
	if len(c.names) == 0 {
		c.missing("archive", whatRoster, "who the access policy names")
	}
	return nil
}

// bind says from when on entry number i counts: it is in the control log, or the heads behind it name it, which are.
func (c *checker) bind(s *nameSource, i int) error {
	e := c.entries[i]
	if e.proof != nil {
		s.from = e.proof.Index + 1
	}
	if i+1 == len(c.entries) {
		return nil
	}
	next := c.entries[i+1]
	var heads control.Heads
	if next.proof == nil || next.proof.Index == 0 || next.entry.Type != control.TypeHeads || next.entry.Into(&heads) != nil || heads.Roster == (commit.Hex32{}) {
		return nil
	}
	switch named := heads.Roster == commit.Hash([]byte(e.file)); {
	case !named && e.proof == nil:
		return failed(e.number, "an entry without proof, and the heads behind it name another roster")
	case !named || e.entry.Type != control.TypeRoster:
		return nil
	case e.proof != nil:
		return failed(e.number, "a roster with a proof that it does not need: the heads behind it name it")
	}
	s.from, s.bound, e.bound = next.proof.Index, true, true
	c.report.Limits = append(c.report.Limits, fmt.Sprintf("that the roster is in the control log: it is older than entry %d, whose compactor says so, and 'stele verify' finds out", s.from))
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
	if n := e.names; n != nil {
		if root, ok := n.root(r.Names); !ok || root != r.Root {
			return 0, failed(n.number, "lines that are not in the roster")
		}
		s.lines = n.lines
	}
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
		if s.from > before {
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

// writer returns what the policy calls the holder of a service key, and where it does.
func (c *checker) writer(key []byte) (name, place string, ok bool) {
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
			if s.bound {
				return name, s.place(), true
			}
			return name, "by " + s.place(), true
		}
	}
	return "", "", false
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
