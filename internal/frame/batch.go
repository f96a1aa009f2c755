package frame

import (
	"github.com/stelelog/stele/internal/sha256mb"
	"github.com/stelelog/stele/merkle"
)

const (
	leafPrefix = 0x00 // RFC 6962
	// batchSize is how many messages are collected before they are hashed: few enough to stay in the cache.
	batchSize = 64
)

// batch collects short messages and hashes them together.
type batch struct {
	data     []byte // one message behind the other
	ends     []int
	messages [][]byte
	sums     [batchSize]merkle.Hash
}

func (b *batch) reset() { b.data, b.ends = b.data[:0], b.ends[:0] }

// end notes that a message is complete, and returns where it ends.
func (b *batch) end() int {
	b.ends = append(b.ends, len(b.data))
	return len(b.data)
}

// full hashes what there is if it is enough for a batch.
func (b *batch) full(sums []merkle.Hash) []merkle.Hash {
	if len(b.ends) < batchSize {
		return sums
	}
	return b.flush(sums)
}

// flush appends the hashes of what there is.
func (b *batch) flush(sums []merkle.Hash) []merkle.Hash {
	b.messages = b.messages[:0]
	start := 0
	for _, end := range b.ends {
		b.messages = append(b.messages, b.data[start:end])
		start = end
	}
	sha256mb.Sums(b.sums[:], b.messages)
	sums = append(sums, b.sums[:len(b.ends)]...)
	b.reset()
	return sums
}

// entries appends the leaf hashes of entries.
func (b *batch) entries(sums []merkle.Hash, entries [][]byte) []merkle.Hash {
	b.reset()
	for _, e := range entries {
		b.data = append(append(b.data, leafPrefix), e...)
		b.end()
		sums = b.full(sums)
	}
	return b.flush(sums)
}
