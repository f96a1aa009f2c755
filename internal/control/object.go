package control

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/merkle"
)

// Object is one object of the control log: what the control key says follows what was there. It is no checkpoint: a
// writer signs it before it knows whether it wins its number, and a log must sign only heads that have won.
type Object struct {
	Stele   string       `json:"stele"`
	Archive commit.Hex16 `json:"archive"`
	N       uint64       `json:"n"`
	Burnt   []uint64     `json:"burnt,omitempty"`
	Size    uint64       `json:"size"` // of the log with these entries
	Root    merkle.Hash  `json:"root"`
	Time    time.Time    `json:"time,omitzero"` // when it was made, by the clock of who made it
	Entries []string     `json:"entries"`
}

// Peek reads which archive an object says that it is of, the archive's name, and the name and hash of the key that it says
// it is signed by, as <name>+<hash>, without looking at the signature.
func Peek(file []byte) (archive commit.Hex16, name, key string, ok bool) {
	var obj Object
	unknown := new(note.UnverifiedNoteError)
	if _, err := note.Open(file, nil); !errors.As(err, &unknown) || commit.UnmarshalLine(unknown.Note.Text, objectFormat, &obj) != nil {
		return archive, "", "", false
	}
	sig := unknown.Note.UnverifiedSigs[0]
	name, ok = strings.CutSuffix(sig.Name, identity.ControlOrigin(""))
	return obj.Archive, name, KeyName(sig.Name, sig.Hash), ok && identity.ValidName(name)
}

// KeyName is how people tell keys apart, <name>+<hash>: what a line of a trust file or a policy begins with.
func KeyName(name string, hash uint32) string { return fmt.Sprintf("%s+%08x", name, hash) }

// Judge is the chain.Judge of the control log.
func (s *State) Judge(o chain.Object) (burnt []uint64, accept func(), err error) {
	file, err := note.Open(o.Data, note.VerifierList(s.log))
	if err == nil && !canonical(o.Data) {
		err = errors.New("not written as it must be")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("control: signature: %w", err)
	}
	var obj Object
	if err := commit.UnmarshalLine(file.Text, objectFormat, &obj); err != nil {
		return nil, nil, err
	}
	if err := rewritten(&obj, strings.TrimSuffix(file.Text, "\n")); err != nil {
		return nil, nil, err
	}
	if obj.N != o.N || obj.Archive != s.Trust.Archive || len(obj.Entries) == 0 {
		return nil, nil, fmt.Errorf("control: object says it is number %d with %d entries", obj.N, len(obj.Entries))
	}
	for _, e := range obj.Entries {
		if err := CheckLeaf(e); err != nil {
			return nil, nil, err
		}
	}
	next := s.grown(obj.Entries)
	if obj.Size != next.Size() || obj.Root != next.Root() {
		err := fmt.Errorf("control: size %d and root do not fit the entries (size %d)", obj.Size, next.Size())
		if obj.Size <= s.Size()+uint64(len(obj.Entries)) {
			return nil, nil, fmt.Errorf("%w: %w", chain.ErrFork, err)
		}
		return nil, nil, fmt.Errorf("%w: %w", chain.ErrOrphan, err)
	}
	return obj.Burnt, func() {
		s.reckoning.see(obj.Time)
		for _, e := range obj.Entries {
			s.apply(e, obj.Time)
		}
		s.roots[obj.Size] = obj.Root
		s.places = append(s.places, Place{o.Key, o.Version, obj.Size})
	}, nil
}

// leastSignature is how many bytes stand behind a name at least: the hash of a key, and one more.
const leastSignature = 5

// canonical reports whether a note has one signature, in the one way in which base64 writes its bytes: no other object
// names the bytes of this one.
func canonical(file []byte) bool {
	_, sigs, _ := strings.Cut(string(file), "\n\n")
	sig, ok := strings.CutSuffix(sigs, "\n")
	sig, signed := strings.CutPrefix(sig, "— ")
	if name, b64, _ := strings.Cut(sig, " "); ok && signed && name != "" && !strings.Contains(sig, "\n") {
		raw, err := base64.StdEncoding.Strict().DecodeString(b64)
		return err == nil && len(raw) >= leastSignature
	}
	return false
}

func (s *State) grown(entries []string) merkle.Frontier {
	next := s.frontier
	for _, e := range entries {
		next.Append(LeafHash(e))
	}
	return next
}

// Build makes the next object of the log: number n after the burnt ones, with entries, at a time, signed by the control key.
func (s *State) Build(t chain.Tail, entries []string, at time.Time, signer note.Signer) ([]byte, error) {
	for _, e := range entries {
		if err := CheckLeaf(e); err != nil {
			return nil, err
		}
	}
	next := s.grown(entries)
	line, err := commit.MarshalLine(Object{objectFormat, s.Trust.Archive, t.Next, t.Burnt, next.Size(), next.Root(), at.UTC(), entries})
	if err != nil {
		return nil, err
	}
	return note.Sign(&note.Note{Text: string(line)}, signer)
}

// Checkpoint signs the head that the state has read. Because it was read, it has won.
func (s *State) Checkpoint(signer note.Signer) ([]byte, error) {
	return merkle.Checkpoint{Origin: s.Trust.Origin(), Size: s.Size(), Root: s.frontier.Root()}.Sign(signer)
}

// Published is the size of which an authentic checkpoint of this log speaks, 0 for anything else.
func (s *State) Published(file []byte) uint64 {
	cp, err := merkle.OpenCheckpoint(file, s.Trust.Origin(), note.VerifierList(s.log))
	if err != nil {
		return 0
	}
	return cp.Size
}

// CheckCheckpoint holds a file against what was read. size is 0 if it is no checkpoint of this log, and the error says
// why; else the error says how it contradicts the log.
func (s *State) CheckCheckpoint(file []byte) (size uint64, err error) {
	cp, err := merkle.OpenCheckpoint(file, s.Trust.Origin(), note.VerifierList(s.log))
	if err != nil {
		return 0, err
	}
	if cp.Size > s.Size() {
		return cp.Size, fmt.Errorf("control: checkpoint of size %d, but the log ends at %d: it was cut", cp.Size, s.Size())
	}
	if root, ok := s.roots[cp.Size]; !ok || root != cp.Root {
		return cp.Size, fmt.Errorf("control: checkpoint of size %d is of another history", cp.Size)
	}
	if !canonical(file) {
		return 0, fmt.Errorf("control: checkpoint of size %d is not written as it must be", cp.Size)
	}
	return cp.Size, nil
}

// Ends are the sizes of the log at the ends of its objects, in order.
func (s *State) Ends() []uint64 { return slices.Sorted(maps.Keys(s.roots)) }
