package merkle

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"

	"golang.org/x/mod/sumdb/note"
)

const (
	tlogProofHeader = "c2sp.org/tlog-proof@v1"

	// maxExtra bounds the extra data. Readers that scan line by line with a
	// common 64 KiB limit can still read its base64.
	maxExtra = 32 << 10

	// maxPath is the longest path in a tree of at most 2^63-1 leaves.
	maxPath = 63
)

// TLogProof is a proof file (c2sp.org/tlog-proof, by custom with the extension
// .tlog-proof): everything but the leaf itself and the keys of the log that is
// needed to verify offline that the leaf is in the log.
type TLogProof struct {
	Index      uint64 // of the leaf, counted from 0
	Path       []Hash // as in [InclusionProof]
	Checkpoint []byte // signed note, verbatim, with the cosignatures that it has
	Extra      []byte // for the application, at most 32 KiB; nothing authenticates it
}

// MarshalText implements [encoding.TextMarshaler] with the text of the proof
// file. It refuses a proof whose index and path do not fit its checkpoint, but
// does not check hashes or signatures.
func (p TLogProof) MarshalText() ([]byte, error) {
	if len(p.Extra) > maxExtra {
		return nil, invalidf("tlog-proof: %d bytes of extra data, over the limit of %d", len(p.Extra), maxExtra)
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	text := append([]byte(tlogProofHeader), '\n')
	if len(p.Extra) > 0 {
		text = append(text, "extra "...)
		text = base64.StdEncoding.AppendEncode(text, p.Extra)
		text = append(text, '\n')
	}
	text = append(text, "index "...)
	text = strconv.AppendUint(text, p.Index, 10)
	text = append(text, '\n')
	for _, h := range p.Path {
		text = append(text, h.String()...)
		text = append(text, '\n')
	}
	text = append(text, '\n')
	return append(text, p.Checkpoint...), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler] for exactly what
// [TLogProof.MarshalText] writes: the two round-trip byte for byte. It does not
// retain text, checks neither hashes nor signatures, and leaves p unchanged
// when it fails.
func (p *TLogProof) UnmarshalText(text []byte) error {
	head, checkpoint, ok := bytes.Cut(text, []byte("\n\n"))
	if !ok {
		return invalidf("tlog-proof: no blank line before the checkpoint")
	}
	parsed := TLogProof{Checkpoint: bytes.Clone(checkpoint)}
	line, rest := cutLine(head)
	if string(line) != tlogProofHeader {
		return invalidf("tlog-proof: first line is %.40q, want %q", line, tlogProofHeader)
	}
	line, rest = cutLine(rest)
	if extra, ok := bytes.CutPrefix(line, []byte("extra ")); ok {
		var err error
		if parsed.Extra, err = parseExtra(extra); err != nil {
			return err
		}
		line, rest = cutLine(rest)
	}
	index, ok := bytes.CutPrefix(line, []byte("index "))
	if !ok {
		return invalidf("tlog-proof: line %.40q, want \"index \" and a number", line)
	}
	var err error
	if parsed.Index, err = parseDecimal(index); err != nil {
		return fmt.Errorf("merkle: tlog-proof: index: %w", err)
	}
	if parsed.Path, err = parsePath(rest); err != nil {
		return err
	}
	if err := parsed.check(); err != nil {
		return err
	}
	*p = parsed
	return nil
}

// Verify checks that leaf is the hash of leaf p.Index of the log named origin,
// under a checkpoint signed by that log, and returns the checkpoint. It fails
// as [OpenCheckpoint] and [InclusionProof.Verify] do, and logKeys means what it
// means there. It says nothing about who has witnessed the checkpoint: check
// cosignatures with [note.Open] on p.Checkpoint.
func (p TLogProof) Verify(leaf Hash, origin string, logKeys note.Verifiers) (Checkpoint, error) {
	c, err := OpenCheckpoint(p.Checkpoint, origin, logKeys)
	if err != nil {
		return Checkpoint{}, err
	}
	proof := InclusionProof{Index: p.Index, Size: c.Size, Path: p.Path}
	if err := proof.Verify(leaf, c.Root); err != nil {
		return Checkpoint{}, err
	}
	return c, nil
}

// check reports whether index and path have the shape of a proof in a tree of
// the size that the checkpoint states.
func (p TLogProof) check() error {
	c, err := peekCheckpoint(p.Checkpoint)
	if err != nil {
		return err
	}
	return InclusionProof{Index: p.Index, Size: c.Size, Path: p.Path}.check()
}

// parseExtra decodes the value of the extra line, which is not empty and has
// one spelling.
func parseExtra(text []byte) ([]byte, error) {
	if len(text) == 0 || bytes.IndexByte(text, '\r') >= 0 {
		return nil, invalidf("tlog-proof: extra: empty or with a line break")
	}
	if len(text) > base64.StdEncoding.EncodedLen(maxExtra) {
		return nil, invalidf("tlog-proof: extra of %d characters, over the limit", len(text))
	}
	extra, err := base64Strict.AppendDecode(nil, text)
	if err != nil {
		return nil, invalidf("tlog-proof: extra: %w", err)
	}
	if len(extra) > maxExtra {
		return nil, invalidf("tlog-proof: %d bytes of extra data, over the limit of %d", len(extra), maxExtra)
	}
	return extra, nil
}

// parsePath parses the lines of the path. The last one has no newline.
func parsePath(text []byte) ([]Hash, error) {
	var path []Hash
	for line := []byte(nil); len(text) > 0; {
		line, text = cutLine(text)
		if len(path) == maxPath {
			return nil, invalidf("tlog-proof: path of more than %d hashes", maxPath)
		}
		h, err := ParseHash(string(line))
		if err != nil {
			return nil, fmt.Errorf("merkle: tlog-proof: path line %d: %w", len(path)+1, err)
		}
		path = append(path, h)
	}
	return path, nil
}

// cutLine splits text after its first line; the newline belongs to neither part.
func cutLine(text []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(text, []byte("\n"))
	return line, rest
}
