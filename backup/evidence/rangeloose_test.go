package evidence

import (
	"encoding/binary"
	"slices"

	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

// loose shows all leaves of the first log and those of the second, and looks at none of them: what our own writer would refuse.
func (w *rangeWorld) loose(q rangeproof.Query) []Part {
	leaves := w.logs[logA]
	uv := binary.AppendUvarint
	data := uv(nil, uint64(len(w.heads[logA])))
	data = append(data, w.heads[logA]...)
	data = append(uv(data, uint64(len(q.String()))), q.String()...)
	data = uv(uv(data, 0), uint64(len(leaves)))
	for _, c := range looseColumns(leaves) {
		data = append(uv(data, uint64(len(c))), c...)
	}
	n := len(w.logs[logB])
	return append([]Part{{rangeproof.KindLeaves, data}, w.part(logB, 0, n, q)}, w.around()...)
}

func looseColumns(leaves []record.Leaf) (col [17][]byte) {
	uv := func(c int, v uint64) { col[c] = binary.AppendUvarint(col[c], v) }
	var texts []string
	var blocks, scopes []string
	seqs, last := []uint64{}, int64(0)
	run := func() {
		if len(seqs) > 0 {
			uv(1, 0)
			uv(1, seqs[0])
			uv(1, uint64(len(seqs)))
		}
		seqs = nil
	}
	col[0] = leaves[0].Stream[:]
	for _, l := range leaves {
		if n := len(seqs); n > 0 && seqs[n-1]+1 != l.Seq {
			run()
		}
		seqs = append(seqs, l.Seq)
		col[3], col[4], col[5] = append(col[3], byte(l.Type)), append(col[4], l.Kind), append(col[5], l.Flags)
		d := l.Time - last
		last = l.Time
		uv(6, uint64(d)<<1^uint64(d>>63))
		col[7] = append(col[7], l.Buckets[:]...)
		for _, s := range append([]string{l.Class}, l.Clear[:]...) {
			n := slices.Index(texts, s)
			if n < 0 {
				n, texts = len(texts), append(texts, s)
				col[2] = append(append(col[2], byte(len(s))), s...)
			}
			uv(8, uint64(n))
		}
		if l.Type != record.Plain && l.Type != record.Piece {
			col[9] = append(le.AppendUint16(col[9], uint16(len(l.Detail))), l.Detail...)
			continue
		}
		block, scope := string(l.Scope[:])+string(l.Digest[:]), string(l.Scope[:])
		if n := slices.Index(blocks, block); n >= 0 {
			uv(10, uint64(len(blocks)-n))
		} else {
			uv(10, 0)
			blocks = append(blocks, block)
			col[14] = append(col[14], l.Digest[:]...)
			if n := slices.Index(scopes, scope); n >= 0 {
				uv(11, uint64(len(scopes)-n))
			} else {
				uv(11, 0)
				scopes = append(scopes, scope)
				col[13] = append(col[13], scope...)
			}
		}
		uv(12, uint64(l.Slot))
		col[15], col[16] = append(col[15], l.ID[:]...), append(col[16], l.Commitment[:]...)
	}
	run()
	return col
}

func hashesOf(leaves []record.Leaf) (hashes []merkle.Hash) {
	for i := range leaves {
		hashes = append(hashes, merkle.LeafHash(leaves[i].Append(nil)))
	}
	return hashes
}
