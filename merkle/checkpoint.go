package merkle

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
)

// maxNote bounds a signed checkpoint. The most signatures that note.Open reads
// (100), all of the largest kind in use (ML-DSA-44, 3.3 kB in base64), fit.
const maxNote = 1 << 20

// Checkpoint is the head of a log: how many leaves it has and their root, under
// the name of the log (c2sp.org/tlog-checkpoint, without extension lines).
type Checkpoint struct {
	Origin string // name of the log: not empty, UTF-8, no control characters
	Size   uint64 // in leaves, at most 2^63-1
	Root   Hash
}

// MarshalText implements [encoding.TextMarshaler] with the unsigned text of the
// checkpoint: three lines, the body of the note that [Checkpoint.Sign] makes.
func (c Checkpoint) MarshalText() ([]byte, error) {
	if err := checkLine("checkpoint origin", c.Origin); err != nil {
		return nil, err
	}
	if err := checkSize("checkpoint", c.Size); err != nil {
		return nil, err
	}
	text := make([]byte, 0, len(c.Origin)+72) // size and root with their newlines take at most 65
	text = append(text, c.Origin...)
	text = append(text, '\n')
	text = strconv.AppendUint(text, c.Size, 10)
	text = append(text, '\n')
	text = append(text, c.Root.String()...)
	return append(text, '\n'), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler] for exactly what
// [Checkpoint.MarshalText] writes. Extension lines, leading zeros and anything
// else are refused, so that one checkpoint has one text. It checks no
// signature, and leaves c unchanged when it fails.
func (c *Checkpoint) UnmarshalText(text []byte) error {
	lines := bytes.SplitN(text, []byte("\n"), 4)
	if len(lines) < 4 {
		return invalidf("checkpoint: %d lines that end in a newline, want 3", len(lines)-1)
	}
	if len(lines[3]) != 0 {
		return invalidf("checkpoint: text after line 3: extension lines are not accepted")
	}
	origin := string(lines[0])
	if err := checkLine("checkpoint origin", origin); err != nil {
		return err
	}
	size, err := parseDecimal(lines[1])
	if err != nil {
		return fmt.Errorf("merkle: checkpoint line 2: size: %w", err)
	}
	root, err := ParseHash(string(lines[2]))
	if err != nil {
		return fmt.Errorf("merkle: checkpoint line 3: root: %w", err)
	}
	*c = Checkpoint{Origin: origin, Size: size, Root: root}
	return nil
}

// Sign returns c as a signed note with one signature by each signer, in their
// order. It needs at least one signer. A log must not sign two checkpoints
// unless the smaller tree is a prefix of the larger; Sign cannot know, so the
// caller must have recorded what it signed before it publishes.
func (c Checkpoint) Sign(signers ...note.Signer) ([]byte, error) {
	if len(signers) == 0 {
		return nil, invalidf("checkpoint: no signer")
	}
	text, err := c.MarshalText()
	if err != nil {
		return nil, err
	}
	msg, err := note.Sign(&note.Note{Text: string(text)}, signers...)
	if err != nil {
		return nil, fmt.Errorf("merkle: sign checkpoint: %w", err)
	}
	return msg, nil
}

// OpenCheckpoint opens a signed checkpoint of the log named origin. One
// signature by a key in logKeys is enough; a wrong one by any of them fails,
// those by unknown keys are ignored (c2sp.org/signed-note).
//
// logKeys must hold keys of this log only. Cosignatures are no substitute for
// the signature of the log, so keys of witnesses do not belong there: check
// those with [note.Open] on the same bytes. Errors wrap
// [note.UnverifiedNoteError] or [note.InvalidSignatureError] if signatures are
// at fault, [ErrOrigin] if it is the head of another log, and [ErrInvalid].
func OpenCheckpoint(msg []byte, origin string, logKeys note.Verifiers) (Checkpoint, error) {
	if len(msg) > maxNote {
		return Checkpoint{}, invalidf("checkpoint of %d bytes, over the limit of %d", len(msg), maxNote)
	}
	n, err := note.Open(msg, logKeys)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("merkle: open checkpoint: %w", err)
	}
	var c Checkpoint
	if err := c.UnmarshalText([]byte(n.Text)); err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != origin {
		return Checkpoint{}, fmt.Errorf("merkle: %w: have %q, want %q", ErrOrigin, c.Origin, origin)
	}
	return c, nil
}

// peekCheckpoint returns the checkpoint inside a signed note without looking at
// its signatures.
func peekCheckpoint(msg []byte) (Checkpoint, error) {
	var c Checkpoint
	if len(msg) > maxNote {
		return c, invalidf("checkpoint of %d bytes, over the limit of %d", len(msg), maxNote)
	}
	end := bytes.LastIndex(msg, []byte("\n\n"))
	if end < 0 {
		return c, invalidf("checkpoint: no blank line before the signatures")
	}
	err := c.UnmarshalText(msg[:end+1])
	return c, err
}

// checkLine refuses what would not survive as a line, or a part of one, in a
// note.
func checkLine(what, s string) error {
	if s == "" {
		return invalidf("%s is empty", what)
	}
	if !utf8.ValidString(s) {
		return invalidf("%s is not UTF-8", what)
	}
	for i := range len(s) {
		if s[i] < 0x20 {
			return invalidf("%s has control character %#02x", what, s[i])
		}
	}
	return nil
}

// parseDecimal parses a number up to 2^63-1 in the only spelling that is
// allowed: digits without sign or leading zeros.
func parseDecimal(text []byte) (uint64, error) {
	if len(text) > 1 && text[0] == '0' {
		return 0, invalidf("number %.20q has leading zeros", text)
	}
	n, err := strconv.ParseUint(string(text), 10, 63)
	if err != nil {
		return 0, invalidf("number %.20q is not in 0 to 2^63-1", text)
	}
	return n, nil
}
