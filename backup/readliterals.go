package backup

import (
	"container/list"

	"github.com/stelelog/stele/internal/seal"
)

// literalBytes bounds what a reader keeps of opened blocks, because later records refer to them.
const literalBytes = 32 << 20

// literals keeps opened blocks, the least recently used go first. The zero literals is ready.
type literals struct {
	blocks map[blockID]*list.Element
	slots  map[seqID]blockSlot
	used   list.List // of *opened
	bytes  int
}

type blockID struct {
	stream [16]byte
	first  uint64
}

type seqID struct {
	stream [16]byte
	seq    uint64
}

type blockSlot struct {
	first uint64
	slot  uint16
}

type opened struct {
	id    blockID
	plain *seal.Plaintext
	bytes int
	seqs  []uint64
}

// block returns an opened block.
func (c *literals) block(stream [16]byte, first uint64) *seal.Plaintext {
	e := c.blocks[blockID{stream, first}]
	if e == nil {
		return nil
	}
	c.used.MoveToFront(e)
	return e.Value.(*opened).plain
}

// keep takes an opened block in.
func (c *literals) keep(stream [16]byte, first uint64, p *seal.Plaintext, bytes int) {
	if c.blocks == nil {
		c.blocks, c.slots = map[blockID]*list.Element{}, map[seqID]blockSlot{}
	}
	id := blockID{stream, first}
	if c.blocks[id] != nil {
		return
	}
	c.blocks[id] = c.used.PushFront(&opened{id: id, plain: p, bytes: bytes})
	c.bytes += bytes
	for c.bytes > literalBytes && c.used.Len() > 1 {
		o := c.used.Remove(c.used.Back()).(*opened)
		delete(c.blocks, o.id)
		for _, seq := range o.seqs {
			delete(c.slots, seqID{o.id.stream, seq})
		}
		c.bytes -= o.bytes
	}
}

// note remembers where a record lies: in which slot of the block whose slot 0 is at seq first.
func (c *literals) note(stream [16]byte, seq, first uint64, slot uint16) {
	e := c.blocks[blockID{stream, first}]
	if e == nil {
		return
	}
	id := seqID{stream, seq}
	if _, have := c.slots[id]; have {
		return
	}
	c.slots[id] = blockSlot{first, slot}
	o := e.Value.(*opened)
	o.seqs = append(o.seqs, seq)
}

// at finds the block and slot of a record that was noted.
func (c *literals) at(stream [16]byte, seq uint64) (*seal.Plaintext, uint16, bool) {
	s, ok := c.slots[seqID{stream, seq}]
	if !ok {
		return nil, 0, false
	}
	p := c.block(stream, s.first)
	return p, s.slot, p != nil
}
