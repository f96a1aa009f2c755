package evidence

import (
	"encoding/base64"
	"fmt"
	"sort"
	"strings"
	"time"

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
	c.indexNames()
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

// nameIndex finds lines of rosters and policies: of each of these the first that fits. It is made once, so that a name costs the same however many there are.
type nameIndex struct {
	byName map[keyHolder][]namedLine // ascending by where they are from
	byKey  map[string]namedLine      // of writers, by the service key in base64: the newest
}

// keyHolder is who has a key, by role and name.
type keyHolder struct{ role, name string }

// namedLine is a line of a source.
type namedLine struct {
	source int
	line   string
	key    note.Verifier // nil of a writer
}

func (c *checker) indexNames() {
	c.index = nameIndex{map[keyHolder][]namedLine{}, map[string]namedLine{}}
	for i := range c.names {
		for _, line := range c.names[i].lines {
			c.index.add(i, line)
		}
	}
}

func (x *nameIndex) add(source int, line string) {
	role, rest, _ := strings.Cut(line, " ")
	if role == "writer" {
		key := writerKey(rest)
		if last, ok := x.byKey[key]; key != "" && (!ok || last.source != source) {
			x.byKey[key] = namedLine{source, line, nil}
		}
		return
	}
	v, err := newNamedKey(rest)
	if err != nil {
		return
	}
	who := keyHolder{role, v.Name()}
	if all := x.byName[who]; len(all) == 0 || all[len(all)-1].source != source {
		x.byName[who] = append(all, namedLine{source, line, v})
	}
}

// writerKey is the service key in the line of a writer, empty if the line says something else.
func writerKey(rest string) string {
	words := strings.SplitN(rest, " ", 3)
	if len(words) < 2 {
		return ""
	}
	if len(words) == 3 {
		at, ok := strings.CutPrefix(words[2], "revoked ")
		if t, err := time.Parse(time.RFC3339Nano, at); !ok || err != nil || t.UTC().Format(time.RFC3339Nano) != at {
			return ""
		}
	}
	return words[1]
}

// named returns the key of who was named in a role before an entry of the control log; nil if nothing in the file does.
func (c *checker) named(role, name string, before uint64) note.Verifier {
	all := c.index.byName[keyHolder{role, name}]
	n := sort.Search(len(all), func(i int) bool { return c.names[all[i].source].from > before })
	if n == 0 {
		return nil
	}
	c.names[all[n-1].source].use(all[n-1].line)
	return all[n-1].key
}

// writer returns what the policy calls the holder of a service key, and where it does.
func (c *checker) writer(key []byte) (name, place string, ok bool) {
	found, ok := c.index.byKey[base64.StdEncoding.EncodeToString(key)]
	if !ok {
		return "", "", false
	}
	s := &c.names[found.source]
	s.use(found.line)
	words := strings.SplitN(found.line, " ", 4)
	if name = words[1]; len(words) == 4 {
		name += ", " + words[3]
	}
	if s.bound {
		return name, s.place(), true
	}
	return name, "by " + s.place(), true
}

// namedKey is a key that knows itself: two names of one key are one person.
type namedKey struct {
	note.Verifier
	public string // its bytes
}

// newNamedKey reads a key in the one way in which it is written.
func newNamedKey(vkey string) (note.Verifier, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	text, _ := strings.CutPrefix(vkey, fmt.Sprintf("%s+%08x+", v.Name(), v.KeyHash()))
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || base64.StdEncoding.EncodeToString(raw) != text {
		return nil, fmt.Errorf("a key that is written in another way than %s", keyName(v))
	}
	return &namedKey{v, string(raw)}, nil
}

// keyName is the name and hash of a key, as signatures have them.
func keyName(v note.Verifier) string { return fmt.Sprintf("%s+%08x", v.Name(), v.KeyHash()) }
