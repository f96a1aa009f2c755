package evidence

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	magic     = "STLV\x01\x00\x00\x00"
	digestLen = 8
	headerLen = len(magic) + 16 + digestLen
	magicLen  = 4
	maxParts  = 1 << 16
	maxPacked = 80 << 20
)

// MaxLen bounds the parts of an evidence file in bytes, unpacked.
const MaxLen = 64 << 20

// ErrFormat is wrapped by errors about files that are no evidence files, are damaged, or are of a version that is not
// known here. Such a file shows nothing, and nothing is wrong with the archive because of it.
var ErrFormat = errors.New("no evidence file that can be read")

func badFile(format string, args ...any) error {
	return fmt.Errorf("evidence: %w: %w", ErrFormat, fmt.Errorf(format, args...))
}

// Part is one part of an evidence file.
type Part struct {
	Kind byte
	Data []byte
}

// Kinds of parts. What each holds is in docs/formats/evidence.md.
const (
	KindRecord  = 1  // a leaf in the frame that its writer signed
	KindLog     = 2  // tlog-proof of the record before, in its data log
	KindFields  = 3  // sealed fields of the record before
	KindScope   = 4  // the scope of the record before
	KindStream  = 5  // a stream certificate
	KindEntry   = 6  // an entry of the control log
	KindControl = 7  // tlog-proof of the entry before, in the control log
	KindNames   = 8  // lines of the roster before
	KindRoot    = 9  // a root record of the key tries
	KindErased  = 10 // list of erased paths
	KindTries   = 11 // proofs that nothing but the list went
	KindSelect  = 12 // what an erasure request selected
	KindRemoved = 13 // one of the erased paths

	KindCosigned = 16 // a head of the control log that witnesses cosigned
	KindAnchored = 17 // one that is in the log of an anchor
)

// Marshal writes the file of the parts. Files of over [MaxLen] bytes are refused.
func Marshal(archive [16]byte, parts []Part) ([]byte, error) {
	total := 0
	for _, p := range parts {
		total += 1 + binary.MaxVarintLen32 + len(p.Data)
	}
	if len(parts) > maxParts || total > MaxLen {
		return nil, fmt.Errorf("evidence: %d parts of %d bytes are more than one file may have: prove fewer records or disclose less", len(parts), total)
	}
	words, ops := condense(parts)
	packed, err := deflate(archive, ops)
	if err != nil {
		return nil, err
	}
	return wrap(archive, words, packed), nil
}

// wrap writes the file of words and packed operations.
func wrap(archive [16]byte, words, packed []byte) []byte {
	head := append([]byte(magic), archive[:]...)
	rest := append(binary.AppendUvarint(nil, uint64(len(words)/wordLen)), words...)
	rest = append(rest, packed...)
	return slices.Concat(head, digest(head, rest), rest)
}

func deflate(archive [16]byte, ops []byte) ([]byte, error) {
	var packed bytes.Buffer
	z, err := flate.NewWriterDict(&packed, flate.BestCompression, dictionary(archive))
	if err == nil {
		_, err = z.Write(ops)
	}
	if err == nil {
		err = z.Close()
	}
	return packed.Bytes(), err
}

func digest(head, packed []byte) []byte {
	sum := sha256.Sum256(append(bytes.Clone(head), packed...))
	return sum[:digestLen]
}

// Parse splits a file into its parts. It needs memory for the file and twice [MaxLen] at most. What the parts show is for
// [Check] to say.
func Parse(file []byte) (archive [16]byte, parts []Part, err error) {
	switch {
	case len(file) < headerLen || string(file[:magicLen]) != magic[:magicLen]:
		return archive, nil, badFile("it does not start like one")
	case file[magicLen] > magic[magicLen] && string(file[magicLen+1:len(magic)]) == magic[magicLen+1:]:
		return archive, nil, badFile("it is of version %d; a newer stele may read it", file[magicLen])
	case string(file[:len(magic)]) != magic:
		return archive, nil, badFile("it is damaged: its first bytes are of no version")
	case len(file) > maxPacked:
		return archive, nil, badFile("it has %d bytes", len(file))
	}
	archive = [16]byte(file[len(magic):])
	packed := file[headerLen:]
	if !bytes.Equal(digest(file[:headerLen-digestLen], packed), file[headerLen-digestLen:headerLen]) {
		return archive, nil, badFile("it is damaged: its digest is of other bytes")
	}
	parts, err = unpack(archive, packed)
	return archive, parts, err
}

// unpack reads words and operations, which must be all there is, and puts the parts together.
func unpack(archive [16]byte, rest []byte) ([]Part, error) {
	n, size := uvarint(rest)
	if size == 0 || n > uint64(len(rest)-size)/uint64(wordLen) {
		return nil, badFile("it ends before its words do")
	}
	words, packed := rest[size:][:int(n)*wordLen], rest[size+int(n)*wordLen:]
	in := bytes.NewReader(packed)
	ops, err := io.ReadAll(io.LimitReader(flate.NewReaderDict(in, dictionary(archive)), MaxLen+1))
	switch {
	case err != nil:
		return nil, badFile("unpack: %w", err)
	case len(ops) > MaxLen:
		return nil, badFile("it unpacks to more than %d bytes", MaxLen)
	case in.Len() > 0:
		return nil, badFile("%d bytes after its end", in.Len())
	}
	return expand(words, ops)
}

// uvarint reads a number in its shortest form; size is 0 if there is none.
func uvarint(b []byte) (v uint64, size int) {
	v, size = binary.Uvarint(b)
	if size <= 0 || size > 1 && b[size-1] == 0 {
		return 0, 0
	}
	return v, size
}
