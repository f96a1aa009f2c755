package rangeproof

import (
	"encoding/binary"
	"fmt"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/merkle"
)

// leavesRoot is where the root over leaf hashes stands in the header of a frame.
const leavesRoot = 88

// Frames writes frames of a run that begins at leaf first: the first leaf of each, which ascend, and its signed header (216 bytes). The root over
// leaf hashes in each header is left out, as it follows from the leaves.
func Frames(first uint64, at []uint64, signed [][]byte) (data []byte, err error) {
	for i, s := range signed {
		h, err := frame.ParseHeader(s)
		if err != nil {
			return nil, err
		}
		if at[i] < first {
			return nil, fmt.Errorf("answer: frames that overlap, or begin before their run: leaf %d", at[i])
		}
		data = binary.AppendUvarint(data, at[i]-first)
		data = append(append(data, s[:leavesRoot]...), s[leavesRoot+len(merkle.Hash{}):]...)
		first = at[i] + uint64(h.Count)
	}
	return data, nil
}
