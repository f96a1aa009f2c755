package evidence

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/anchorlog"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/cosign"
	"github.com/stelelog/stele/merkle"
)

// CosignedPart makes the part of a head of the control log with cosignatures of witnesses, to which way leads from the head
// that the entries are under.
func CosignedPart(way []merkle.Hash, cosigned []byte) Part {
	return Part{KindCosigned, append(appendPath(nil, way), cosigned...)}
}

// AnchoredPart makes the part of a head that is in the log of an anchor: proof is a tlog-proof of its text there. An empty
// head is the one that the entries are under.
func AnchoredPart(way []merkle.Hash, head, proof []byte) Part {
	data := append(appendUvarint(appendPath(nil, way), uint64(len(head))), head...)
	return Part{KindAnchored, append(data, proof...)}
}

// vouchPart is a part that says who else has seen the control log.
type vouchPart struct {
	number int
	kind   byte
	way    []merkle.Hash
	head   []byte            // with cosignatures, or in the log of an anchor
	proof  *merkle.TLogProof // in that log
}

func (c *checker) takeVouch(n int, p Part) error {
	in := cursor{b: p.Data}
	v := vouchPart{number: n, kind: p.Kind, way: in.path()}
	if p.Kind == KindCosigned {
		v.head = in.b
	} else {
		size := in.uv()
		if size > uint64(len(in.b)) {
			return errPart
		}
		v.head = in.bytes(size)
		var err error
		if v.proof, err = parseProof(in.b); err != nil {
			return err
		}
	}
	if in.broken {
		return errPart
	}
	if last := len(c.vouches) - 1; last >= 0 && (c.vouches[last].kind > v.kind || v.kind == KindAnchored && c.vouches[last].origin() >= v.origin()) {
		return errMisplaced
	}
	c.vouches = append(c.vouches, v)
	return nil
}

// origin is the name of the anchor's log, empty for what witnesses cosigned.
func (v *vouchPart) origin() string {
	if v.proof == nil {
		return ""
	}
	text, _, _ := strings.Cut(string(v.proof.Checkpoint), "\n")
	return text
}

// vouched checks who else has seen the head of the control log.
func (c *checker) vouched() error {
	policy, err := c.trust.Cosigners()
	if err != nil {
		return fmt.Errorf("trust file: %w", err)
	}
	if c.headFile == nil && len(c.vouches) > 0 {
		return failed(c.vouches[0].number, "who else has seen a head of the control log, without one")
	}
	signed, anchored := map[string]bool{}, map[string]bool{}
	size := uint64(0)
	for i := range c.vouches {
		v := &c.vouches[i]
		if v.kind == KindCosigned {
			size, err = c.cosigned(v, policy, signed, size)
		} else {
			err = c.anchored(v, anchored)
		}
		if err != nil {
			return &FailedError{v.number, false, err}
		}
	}
	if c.headFile == nil {
		return nil
	}
	c.wanted(policy, signed, anchored)
	return nil
}

// wanted says whether what the trust file wants is there.
func (c *checker) wanted(policy *cosign.Policy, signed, anchored map[string]bool) {
	switch {
	case !policy.Wants():
	case policy.Met(func(w string) bool { return signed[w] }):
		c.holds("archive", whatQuorum, "trust file", "quorum "+policy.Quorum)
	default:
		c.missing("archive", whatQuorum, fmt.Sprintf("the cosignatures that the trust file wants (quorum %s)", policy.Quorum))
	}
	for _, vkey := range c.trust.Anchors {
		if v, err := note.NewVerifier(vkey); err == nil && !anchored[v.Name()] {
			c.missing("archive", whatAnchor, "that the head of the control log is in "+v.Name())
		}
	}
	if len(signed)+len(anchored) == 0 {
		c.missing("archive", whatWitness, "nobody but its own key vouches for the head of the control log")
	}
}

// leads checks that a signed head is the one that the entries are under, or continues it.
func (c *checker) leads(way []merkle.Hash, signed []byte) (merkle.Checkpoint, error) {
	cp, err := merkle.OpenCheckpoint(signed, c.trust.Origin(), note.VerifierList(c.logKey))
	if err != nil {
		return cp, fmt.Errorf("the head that others have seen: %w", err)
	}
	p := merkle.ConsistencyProof{OldSize: c.head.Size, NewSize: cp.Size, Path: way}
	if err := p.Verify(c.head.Root, cp.Root); err != nil {
		return cp, fmt.Errorf("the head that others have seen does not continue this one: %w", err)
	}
	return cp, nil
}

func (c *checker) cosigned(v *vouchPart, policy *cosign.Policy, signed map[string]bool, last uint64) (size uint64, err error) {
	lines, err := c.signatures(v.head)
	if err != nil {
		return 0, err
	}
	cp, err := c.leads(v.way, v.head)
	if err != nil {
		return 0, err
	}
	if cp.Size <= last {
		return 0, errors.New("cosigned heads that do not ascend")
	}
	by, err := policy.Read(v.head)
	if err != nil {
		return 0, err
	}
	for _, s := range by {
		if signed[s.Witness] {
			return 0, fmt.Errorf("two cosignatures of %s", s.Witness)
		}
		if y := s.Time.Year(); y < 1970 || y > 9999 {
			return 0, fmt.Errorf("a cosignature of the year %d", y)
		}
		signed[s.Witness] = true
		for _, w := range policy.Witnesses {
			if w.Name == s.Witness {
				c.holds("archive", whatCosigned, keyName(w.Key), fmt.Sprintf("size %d, %s", cp.Size, stamp(s.Time)))
			}
		}
	}
	for range lines - 1 - len(by) {
		c.missing("archive", whatUnknown, fmt.Sprintf("part %d: a signature by nobody whom the trust file names", v.number))
	}
	return cp.Size, nil
}

// signatures counts those of a cosigned head, which have one form each: the first is the control log's.
func (c *checker) signatures(head []byte) (n int, err error) {
	_, after, _ := bytes.Cut(head, []byte("\n\n"))
	text, ok := bytes.CutSuffix(after, []byte("\n"))
	if !ok {
		return 0, errors.New("no signed head of the control log")
	}
	seen := map[string]bool{}
	for line := range strings.SplitSeq(string(text), "\n") {
		words := strings.Split(line, " ")
		if len(words) != 3 {
			return 0, errors.New("a line that is no signature")
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(words[2])
		if err != nil || len(raw) < keyIDLen || base64.StdEncoding.EncodeToString(raw) != words[2] {
			return 0, errors.New("a signature that is written in another way")
		}
		key := fmt.Sprintf("%s+%x", words[1], raw[:keyIDLen])
		if n++; seen[key] || n == 1 && key != keyName(c.logKey) {
			return 0, errors.New("signatures that are not, first, that of the control log, and then one of each witness")
		}
		seen[key] = true
	}
	return n, nil
}

func (c *checker) anchored(v *vouchPart, anchored map[string]bool) error {
	head := v.head
	if len(head) == 0 {
		head = c.headFile
	} else if bytes.Equal(head, c.headFile) || !control.Canonical(head) {
		return errors.New("a head that should be left out, or has more than one signature")
	}
	cp, err := c.leads(v.way, head)
	if err != nil {
		return err
	}
	for _, vkey := range c.trust.Anchors {
		key, err := note.NewVerifier(vkey)
		if err != nil || key.Name() != v.origin() {
			continue
		}
		at, err := v.proof.Verify(merkle.LeafHash(anchorlog.Leaf(string(head))), key.Name(), note.VerifierList(key))
		if err != nil {
			return fmt.Errorf("anchor %s: %w", key.Name(), err)
		}
		anchored[key.Name()] = true
		c.holds("archive", whatAnchored, keyName(key), fmt.Sprintf("head of size %d, %s leaf %d of %d, root %s", cp.Size, at.Origin, v.proof.Index, at.Size, at.Root))
		return nil
	}
	c.missing("archive", whatUnknown, fmt.Sprintf("part %d: the anchor %s, which the trust file does not name", v.number, v.origin()))
	return nil
}
