package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/seal"
	"github.com/stelelog/stele/merkle"
)

// fieldNames are the names of the sealed fields, those of a record, then those of a scope.
func fieldNames() ([seal.FieldCount]string, [3]string) {
	return [seal.FieldCount]string{"body", "id", "trace", "attributes", "content-type", "zone"}, [3]string{"tenant", "subject", "session"}
}

func clearNames() [6]string {
	return [6]string{"operation", "provider", "model", "finish_reason", "error_type", "release"}
}

// record checks one record.
func (c *checker) record(g *recordGroup) error {
	about := g.leaf.Type.String() + " " + hex.EncodeToString(g.leaf.ID[:]) // a piece is no record
	if g.leaf.ID == [16]byte{} {
		about = fmt.Sprintf("%s %x %d", g.leaf.Type, g.leaf.Stream, g.leaf.Seq)
	}
	out := describe(&g.leaf)
	if err := c.frame(g, about, &out); err != nil {
		return &FailedError{g.number, false, err}
	}
	if err := c.inLog(g, about, &out); err != nil {
		return &FailedError{g.number, false, err}
	}
	if err := c.disclosed(g, about, &out); err != nil {
		return &FailedError{g.number, false, err}
	}
	c.report.Records = append(c.report.Records, out)
	return nil
}

func describe(l *record.Leaf) Record {
	r := Record{ID: hex.EncodeToString(l.ID[:]), Type: l.Type.String(), Time: time.Unix(0, l.Time).UTC(), Class: l.Class,
		Stream: hex.EncodeToString(l.Stream[:]), Seq: l.Seq, Clear: map[string]string{}, Fields: map[string][]byte{}}
	if int(l.Kind) < len(record.KindNames()) {
		r.Kind = record.KindNames()[l.Kind]
	}
	if l.Scope != [16]byte{} {
		r.Scope = hex.EncodeToString(l.Scope[:])
	}
	for i, name := range clearNames() {
		if l.Clear[i] != "" {
			r.Clear[name] = l.Clear[i]
		}
	}
	return r
}

// frame checks who signed the leaf: its stream and, if its certificate is here, the service.
func (c *checker) frame(g *recordGroup, about string, out *Record) error {
	h := &g.header
	if h.Archive != c.trust.Archive || h.Stream != g.leaf.Stream || g.leaf.Seq < h.First || g.leaf.Seq >= h.Next() {
		return fmt.Errorf("the frame is not one that holds the leaf")
	}
	leaf := merkle.LeafHash(g.leafdata)
	cert := c.streams[g.leaf.Stream]
	if cert == nil {
		return fmt.Errorf("the certificate of its stream is not in the file")
	}
	if cert.Archive != h.Archive || cert.Partition != h.Partition {
		return fmt.Errorf("the certificate of its stream is for another partition")
	}
	if !frame.Verify(g.signed, cert.StreamKey[:]) {
		return fmt.Errorf("the signature of the frame is not that of its stream")
	}
	c.holds(about, whatSigned, "stream "+hex.EncodeToString(cert.Stream[:]), fmt.Sprintf("leaf %s, seq %d", leaf, g.leaf.Seq))
	c.holds(about, whatCertified, "service key "+hex.EncodeToString(cert.ServiceKey[:]), "stream of "+cert.Service)
	name, place, ok := c.writer(cert.ServiceKey[:])
	if !ok {
		c.missing(about, whatWriter, "that the access policy names its service key")
		return nil
	}
	out.Service = cert.Service
	c.holds(about, whatWriter, keyName(c.rootKey), fmt.Sprintf("writer %s %s", name, place))
	return nil
}

// inLog checks that the leaf is in its data log, and the head of that in the control log.
func (c *checker) inLog(g *recordGroup, about string, out *Record) error {
	if g.log == nil && c.inRange(g, about, out) {
		return nil
	}
	if g.log == nil {
		c.missing(about, whatLog, "that it is in a log")
		return nil
	}
	e, head := c.headOf(g.log.Checkpoint)
	if head == nil {
		c.missing(about, whatLog, "that it is in a log whose head the control log has")
		return nil
	}
	partition := fmt.Sprintf("%s/%d/", c.trust.Name, g.header.Partition)
	if !strings.HasPrefix(head.Log, partition) {
		return fmt.Errorf("the log %s is not one of partition %d", head.Log, g.header.Partition)
	}
	key := c.named("compactor", e.entry.By, e.proof.Index)
	if key == nil {
		c.missing(about, whatLog, fmt.Sprintf("that the access policy names %s, who signed the head of its log", e.entry.By))
		return nil
	}
	if err := e.signedBy(key); err != nil {
		return fmt.Errorf("the entry with the head of its log: %w", err)
	}
	at, err := g.log.Verify(merkle.LeafHash(g.leafdata), head.Log, note.VerifierList(key))
	if err != nil {
		return fmt.Errorf("its place in %s: %w", head.Log, err)
	}
	out.Log, out.Index = head.Log, g.log.Index
	c.holds(about, whatLog, keyName(key), fmt.Sprintf("%s leaf %d of %d, root %s", head.Log, g.log.Index, at.Size, at.Root))
	c.holds(about, whatHead, keyName(c.logKey), fmt.Sprintf("entry %d of %d, commit %d", e.proof.Index, c.head.Size, head.Commit))
	return nil
}

// loggedHead is a head in an entry of the control log.
type loggedHead struct {
	e *entryGroup
	control.Head
}

// loggedHeads reads the heads that the control log has.
func (c *checker) loggedHeads() error {
	for _, e := range c.entries {
		if e.proof == nil || e.entry.Type != control.TypeHeads {
			continue
		}
		var heads control.Heads
		if err := e.entry.Into(&heads); err != nil {
			return &FailedError{e.number, false, err}
		}
		for _, h := range heads.Heads {
			l := &loggedHead{e, h}
			if c.byHead[h.Checkpoint] == nil {
				c.byHead[h.Checkpoint] = l
			}
			if c.byCommit[h.Hash] == nil {
				c.byCommit[h.Hash] = l
			}
		}
	}
	return nil
}

// headOf finds the entry of the control log that has a checkpoint.
func (c *checker) headOf(checkpoint []byte) (*entryGroup, *control.Head) {
	l := c.byHead[string(checkpoint)]
	if l == nil {
		return nil, nil
	}
	l.e.used = true
	return l.e, &l.Head
}

// signedBy checks the signature of an entry; by a key that was named, once.
func (g *entryGroup) signedBy(key note.Verifier) error {
	id := ""
	if k, ok := key.(*namedKey); ok {
		id = k.Name() + "\n" + k.public
	}
	if id != "" && g.opened == id {
		return nil
	}
	_, err := note.Open([]byte(g.file), note.VerifierList(key))
	if err == nil {
		g.opened = id
	}
	return err
}

// disclosed checks the sealed fields that are shown, against what the writer committed to.
func (c *checker) disclosed(g *recordGroup, about string, out *Record) error {
	names, scopeNames := fieldNames()
	by := "stream " + hex.EncodeToString(g.leaf.Stream[:])
	if g.fields != nil {
		var hashes [seal.FieldCount][32]byte
		for i := range hashes {
			hashes[i] = g.fields[i].Hash
		}
		if seal.Commitment(&hashes) != g.leaf.Commitment {
			return fmt.Errorf("the fields are not what the writer committed to")
		}
		shown := 0
		for i, f := range g.fields {
			if f.Shown {
				shown++
				out.Fields[names[i]] = f.Value
				c.holds(about, whatField, by, fmt.Sprintf("%s, %s, SHA-256 %x", names[i], count(len(f.Value), "byte"), sha256.Sum256(f.Value))+kept(i, g.leaf.Flags))
			}
		}
		if shown == 0 {
			return fmt.Errorf("it has a part of fields that shows none")
		}
	}
	if g.scope == nil {
		return nil
	}
	return c.scope(g, about, by, scopeNames, out)
}

// kept says of the body that it is not all that was captured.
func kept(field int, flags uint8) (text string) {
	if field > 0 {
		return ""
	}
	if flags&record.Withheld != 0 {
		text += ", withheld, as its redaction failed"
	}
	if flags&record.CutAtSource != 0 {
		text += ", cut short at its source"
	}
	return text
}

func (c *checker) scope(g *recordGroup, about, by string, names [3]string, out *Record) error {
	s := g.scope
	switch {
	case s.header.Archive != c.trust.Archive || s.header.Stream != g.leaf.Stream || s.header.Partition != g.header.Partition:
		return fmt.Errorf("the scope is from another stream")
	case s.root != s.header.Entries || s.header.First > g.leaf.Seq:
		return fmt.Errorf("the scope is not in that frame, or not before the record")
	case s.entry.ID != g.leaf.Scope || s.entry.Class != g.leaf.Class:
		return fmt.Errorf("the scope is not that of the record")
	}
	if !frame.Verify(s.signed, c.streams[g.leaf.Stream].StreamKey[:]) {
		return fmt.Errorf("the frame of its scope is not signed by the stream")
	}
	c.holds(about, whatScope, by, fmt.Sprintf("%x, key check value %x", s.entry.ID, s.entry.KCV[:]))
	c.forgotten(about, s.entry)
	for i, commitment := range []merkle.Hash{s.entry.Tenant, s.entry.Subject, s.entry.Session} {
		v := &s.names[i]
		if !v.Shown {
			continue
		}
		field := seal.FieldTenant + seal.Field(i)
		if seal.FieldHash(v.Salt, field, v.Value) != commitment {
			return fmt.Errorf("the %s is not what the writer committed to", names[i])
		}
		out.Fields[names[i]] = v.Value
		c.holds(about, whatField, by, fmt.Sprintf("%s, %s, SHA-256 %x", names[i], count(len(v.Value), "byte"), sha256.Sum256(v.Value)))
	}
	return nil
}
