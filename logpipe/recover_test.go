package logpipe

import (
	"context"
	"crypto/ed25519"
	"testing"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/spool"
	"github.com/stelelog/stele/merkle"
)

// laneMessages makes n frames of one leaf of a stream, and the head behind each.
func laneMessages(t *testing.T, stream [16]byte, n int) (frames [][]byte, heads []merkle.Hash) {
	t.Helper()
	_, key, _ := ed25519.GenerateKey(nil)
	var head merkle.Hash
	for i := range n {
		d := frame.Draft{Stream: stream, First: uint64(i), Prev: head}
		d.Rows = []frame.Row{{Leaf: record.Leaf{Type: record.Sampled, Class: defaultClass, Detail: record.SampledDetail{}.Append(nil)}, Block: -1}}
		raw, next, err := d.Encode(nil, key)
		if err != nil {
			t.Fatal(err)
		}
		frames, heads, head = append(frames, raw), append(heads, next), next
	}
	return frames, heads
}

// TestWhereAStreamEnded: the end that a successor states is that of all lanes of the stream, and the tip where frames did
// not go through lanes.
func TestWhereAStreamEnded(t *testing.T) {
	stream, other := [16]byte{7}, [16]byte{9}
	frames, heads := laneMessages(t, stream, 12)
	strange, _ := laneMessages(t, other, 30)
	for _, test := range []struct {
		name       string
		lanes      map[byte][][]byte // by the first byte of the id
		tip        uint64
		durability keyscope.Durability
		file       bool
		want       uint64
	}{
		{"no lane", map[byte][][]byte{}, 5, keyscope.Spooled, true, 5},
		{"one lane, the tip ahead", map[byte][][]byte{7: frames[:5]}, 5, keyscope.Spooled, true, 4},
		{"one lane, the tip ahead, memory", map[byte][][]byte{7: frames[:5]}, 5, keyscope.Memory, true, 5},
		{"one lane, the tip behind", map[byte][][]byte{7: frames[:5]}, 2, keyscope.Memory, true, 4},
		{"a second lane after a fault", map[byte][][]byte{7: frames[:5], 1: frames[4:9]}, 9, keyscope.Spooled, true, 8},
		{"a second lane, the first is used up", map[byte][][]byte{1: frames[4:9]}, 9, keyscope.Spooled, true, 8},
		{"three lanes", map[byte][][]byte{7: frames[:5], 200: frames[4:9], 1: frames[8:11]}, 11, keyscope.Acked, true, 10},
		{"a lane of another stream", map[byte][][]byte{7: frames[:5], 9: strange}, 4, keyscope.Spooled, true, 4},
		{"an outage that is over, then straight to the brokers", map[byte][][]byte{7: frames[2:5]}, 11, keyscope.Acked, false, 11},
		{"an outage, all through lanes", map[byte][][]byte{7: frames[2:5]}, 5, keyscope.Spooled, false, 4},
		{"a lane that holds nothing", map[byte][][]byte{7: nil}, 3, keyscope.Spooled, true, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, err := spool.Open(t.TempDir(), spool.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for id, messages := range test.lanes {
				w, err := dir.CreateLane([16]byte{id})
				if err == nil && len(messages) > 0 {
					if _, err = w.Append(spool.Frames, messages...); err == nil {
						err = w.Sync(context.Background())
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				defer w.Close()
			}
			last := &tip{stream: stream, seq: test.tip, head: heads[test.tip], durability: test.durability}
			got, err := recoverLanes(dir, last, test.file)
			if err != nil || got.Stream != stream || got.Seq != test.want || got.Head != heads[test.want] {
				t.Errorf("it ended at %d (%v), want %d", got.Seq, err, test.want)
			}
		})
	}
}
