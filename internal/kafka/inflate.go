package kafka

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/compress/lz4"
)

// Our writers never compress: frames are sealed. A broker may do so on its own
// (compression.type), and a hostile writer may send a decompression bomb; so
// every codec is read, and none beyond its limit.

// errInflated reports that a batch expands beyond the limit.
var errInflated = errors.New("compressed batch expands beyond the limit")

// inflate decompresses the records of one batch into at most limit bytes.
func inflate(codec compress.Compression, src []byte, limit int) ([]byte, error) {
	switch codec {
	case compress.Gzip:
		z, err := gzip.NewReader(bytes.NewReader(src))
		if err != nil {
			return nil, err
		}
		return readLimited(z, limit)
	case compress.Snappy:
		return inflateSnappy(src, limit)
	case compress.Lz4:
		z := new(lz4.Codec).NewReader(bytes.NewReader(src))
		defer z.Close()
		return readLimited(z, limit)
	case compress.Zstd:
		return inflateZstd(src, limit)
	}
	return nil, fmt.Errorf("unknown compression codec %d", codec)
}

func readLimited(r io.Reader, limit int) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err == nil && len(b) > limit {
		err = errInflated
	}
	return b, err
}

func inflateZstd(src []byte, limit int) ([]byte, error) {
	const smallestWindow = 1 << 20 // encoders declare more than they fill
	window := uint64(max(limit, smallestWindow))
	z, err := zstd.NewReader(bytes.NewReader(src), zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(window), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	b, err := readLimited(z, limit)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		err = fmt.Errorf("%w: %w", errInflated, err)
	}
	return b, err
}

// inflateSnappy reads raw snappy and the block framing of the Java library:
// an 8-byte mark, two version words, then blocks preceded by their length.
func inflateSnappy(src []byte, limit int) ([]byte, error) {
	mark := []byte("\x82SNAPPY\x00")
	if !bytes.HasPrefix(src, mark) {
		return appendSnappy(nil, src, limit)
	}
	const versions = 8
	r := reader{b: src[len(mark):]}
	r.take(versions)
	var out []byte
	for r.err == nil && len(r.b) > 0 {
		var size uint32
		if head := r.take(4); head != nil {
			size = binary.BigEndian.Uint32(head)
		}
		block := r.take(int(size))
		if r.err != nil {
			break
		}
		var err error
		if out, err = appendSnappy(out, block, limit); err != nil {
			return nil, err
		}
	}
	return out, r.err
}

func appendSnappy(out, block []byte, limit int) ([]byte, error) {
	n, err := snappy.DecodedLen(block)
	if err != nil {
		return nil, err
	}
	if n > limit-len(out) {
		return nil, errInflated
	}
	plain, err := snappy.Decode(nil, block)
	return append(out, plain...), err
}
