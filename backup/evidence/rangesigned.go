package evidence

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/merkle"
)

// signedFrame is a frame of a range.
type signedFrame struct {
	header  frame.Header
	signed  []byte
	matches []rangeproof.Match // among its leaves
}

// takeSigned takes a part of kind 15.
func (c *checker) takeSigned(p Part) error {
	if len(c.ranges) == 0 || len(c.spans)+len(c.records)+len(c.entries) > 0 || len(p.Data) == 0 {
		return errMisplaced
	}
	r := c.ranges[len(c.ranges)-1]
	if r.frames != nil {
		return errMisplaced
	}
	in := cursor{b: p.Data}
	for at := r.First; len(in.b) > 0; {
		skipped := in.uv()
		before, behind := in.bytes(leavesRoot), in.bytes(uint64(frame.SignedLen-leavesRoot-wordLen))
		if in.broken || skipped > r.Leaves {
			return errPart
		}
		at += skipped
		f := signedFrame{signed: slices.Concat(before, make([]byte, wordLen), behind)}
		var err error
		if f.header, err = frame.ParseHeader(f.signed); err != nil {
			return err
		}
		root, matches, ok := r.Frame(at, uint64(f.header.Count), f.header.Stream, f.header.First)
		if !ok || len(matches) == 0 {
			return fmt.Errorf("the frame of %d leaves from %d on is not one of this range, or holds no match", f.header.Count, at)
		}
		f.header.Leaves, f.matches = root, matches
		copy(f.signed[leavesRoot:], root[:])
		if r.frames == nil {
			r.frames = map[[16]byte][]signedFrame{}
		}
		if r.frames[f.header.Stream] == nil {
			r.places[f.header.Stream] = len(r.streams)
			r.streams = append(r.streams, f.header.Stream)
		}
		r.frames[f.header.Stream] = append(r.frames[f.header.Stream], f)
		at += uint64(f.header.Count)
	}
	return nil
}

// awaits reports whether the certificate of a stream belongs here: behind its first record or, before there are records, behind the first frames of it, in
// their order.
func (c *checker) awaits(r *recordGroup, stream [16]byte) bool {
	if r != nil {
		return r.leaf.Stream == stream
	}
	if len(c.ranges) == 0 || len(c.spans)+len(c.entries) > 0 {
		return false
	}
	last := c.ranges[len(c.ranges)-1]
	at, known := last.places[stream]
	if !known || at < last.certified {
		return false
	}
	last.certified = at + 1
	return true
}

// signedMatches checks the frames of a range, and says whose signatures are behind its matches.
func (c *checker) signedMatches(r *rangePart) error {
	about := fmt.Sprintf("range %s %d", r.At.Origin, r.First)
	for _, id := range r.streams {
		cert := c.streams[id]
		if cert == nil {
			return errors.New("the certificate of the stream of a frame is not in the file")
		}
		var hashes []merkle.Hash
		frames := r.frames[id]
		for i := range frames {
			f := &frames[i]
			if err := c.signedBy(r, f, cert); err != nil {
				return err
			}
			for k := range f.matches {
				hashes = append(hashes, f.matches[k].Hash)
				f.matches[k].Signed = true
			}
		}
		if r.origin != "" {
			c.holds(about, whatSigned, "stream "+hex.EncodeToString(id[:]), fmt.Sprintf("%s in %s, root over their leaf hashes %s", count(len(hashes), "match"), count(len(frames), "frame"), merkle.Root(hashes)))
		}
		if !c.told[id] {
			c.told[id] = true
			c.stream(cert)
		}
	}
	if r.origin == "" {
		return nil
	}
	unsigned := c.unsigned(r)
	c.report.Answer.Matches += uint64(len(r.Matches))
	c.report.Answer.Signed += uint64(len(r.Matches) - unsigned)
	if unsigned > 0 {
		c.missing(about, whatSigned, fmt.Sprintf("%d of %d matches: they are as who signed the head has them", unsigned, len(r.Matches)))
	}
	return nil
}

// unsigned counts the matches of a range of which the file has no signature, and notes where its records are.
func (c *checker) unsigned(r *rangePart) (n int) {
	for i := range r.Matches {
		m := &r.Matches[i]
		at, recorded := c.places[leafOf{r.partition, m.Hash}]
		if recorded && at.r == nil {
			c.places[leafOf{r.partition, m.Hash}] = leafPlace{r, m.Index}
		}
		if m.Signed = m.Signed || recorded; !m.Signed {
			n++
		}
	}
	return n
}

// signedBy checks the signature of a frame.
func (c *checker) signedBy(r *rangePart, f *signedFrame, cert *keyscope.Cert) error {
	n, err := partitionOf(c.trust.Name, r.At.Origin)
	if err != nil {
		return err
	}
	if h := &f.header; h.Archive != c.trust.Archive || h.Partition != n || cert.Archive != h.Archive || cert.Partition != n {
		return errors.New("a frame of another archive or partition")
	}
	if !frame.Verify(f.signed, cert.StreamKey[:]) {
		return errors.New("the signature of a frame is not that of its stream")
	}
	return nil
}

// stream says who let a stream sign.
func (c *checker) stream(cert *keyscope.Cert) {
	about := "stream " + hex.EncodeToString(cert.Stream[:])
	c.holds(about, whatCertified, "service key "+hex.EncodeToString(cert.ServiceKey[:]), "stream of "+cert.Service)
	name, place, ok := c.writer(cert.ServiceKey[:])
	if !ok {
		c.missing(about, whatWriter, "that the access policy names its service key")
		return
	}
	c.holds(about, whatWriter, keyName(c.rootKey), fmt.Sprintf("writer %s %s", name, place))
}
