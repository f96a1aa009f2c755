package logpipe

import (
	"errors"
	"fmt"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/seal"
)

// errBig says that units do not fit into one frame.
var errBig = errors.New("over the size of a frame")

// flush seals what was added. Afterwards nothing of it is referred to any more.
func (w *sealer) flush() {
	defer w.flushed()
	if len(w.units) == 0 {
		return
	}
	units := w.units
	for len(units) > 0 {
		n, err := w.try(units)
		if err != nil {
			w.abandon(units, err)
			break
		}
		units = units[n:]
	}
	for _, u := range w.units {
		w.drop(u)
	}
	clear(w.units)
	w.units = w.units[:0]
	w.plain, w.size = 0, frameBytes
	clear(w.strings)
	w.drafts++
}

// try seals as many of the units as fit into a frame, beginning with all, and returns how many these were.
func (w *sealer) try(units []*unit) (n int, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	for n = len(units); ; n = (n + 1) / 2 {
		err = w.frame(units[:n])
		if !errors.Is(err, errBig) || n == 1 {
			return n, err
		}
	}
}

// abandon declares units as lost. Their seqs are given to what comes next, so everything that knows them is forgotten.
func (w *sealer) abandon(units []*unit, err error) {
	w.epoch++
	w.scopes.reset()
	for _, u := range units {
		switch {
		case u.captured > 0:
			w.lost(u.leaf.Class, u.leaf.Time, err)
		case u.scope == nil:
			w.undo(u)
		}
	}
}

// frame seals units into one frame and hands it over, after the grants of scopes that it is the first to use.
func (w *sealer) frame(units []*unit) error {
	w.drafts++
	d := &w.draft
	d.Archive, d.Partition, d.Stream, d.First, d.Prev = w.at.Archive, w.at.Partition, w.at.Stream, w.next, w.head
	d.Entries, d.Rows, d.Blocks = d.Entries[:0], d.Rows[:0], d.Blocks[:0]
	used, captured, err := w.collect(units)
	if err != nil {
		return err
	}
	size, err := w.sealBlocks(used)
	if err != nil {
		return err
	}
	fresh := w.enter(used)
	for _, e := range d.Entries {
		size += len(e) + 2
	}
	for i := range d.Rows {
		size += len(d.Rows[i].Detail)
	}
	if size+len(units)*78+len(used)*26+255*65+frame.SignedLen+64 > frame.MaxLen {
		return errBig
	}
	grants, err := w.grants(fresh)
	if err != nil {
		return err
	}
	raw, head, err := d.Encode(make([]byte, 0, size+len(units)*80+4096), w.key)
	if err != nil {
		return err
	}
	w.commit(fresh)
	last := w.next + uint64(len(units)) - 1
	w.next, w.head = last+1, head
	if grants != nil {
		w.emit(&item{kind: itemGrants, data: fit(grants)})
	}
	closing := units[len(units)-1].leaf.Type == record.Close
	w.emit(&item{kind: itemFrame, data: fit(raw), records: captured, last: last, head: head, closing: closing})
	return nil
}

// fit gives a message, which may wait for hours, no more memory than it is counted with.
func fit(b []byte) []byte {
	if cap(b)-len(b) <= len(b)/8 {
		return b
	}
	return append(make([]byte, 0, len(b)), b...)
}

// collect makes the rows of the units and fills one block for each scope.
func (w *sealer) collect(units []*unit) (used []*scope, captured int, err error) {
	for i, u := range units {
		row := frame.Row{Leaf: u.leaf, Block: -1}
		captured += u.captured
		if sc := u.scope; sc != nil {
			if sc.draft != w.drafts {
				sc.draft, sc.block = w.drafts, len(used)
				used = append(used, sc)
				if err := w.startBlock(sc); err != nil {
					return nil, 0, err
				}
			}
			b := w.blocks[sc.block]
			row.Block, row.Slot = sc.block, uint16(b.Records())
			err := b.Add(w.next+uint64(i), u.leaf.Commitment, &u.fields, u.parts)
			if errors.Is(err, seal.ErrFull) {
				return nil, 0, errBig
			}
			if err != nil {
				return nil, 0, err
			}
		}
		w.draft.Rows = append(w.draft.Rows, row)
	}
	return used, captured, nil
}

func (w *sealer) startBlock(sc *scope) error {
	if sc.block == len(w.blocks) {
		w.blocks = append(w.blocks, &seal.Block{})
	}
	b := w.blocks[sc.block]
	b.Reset()
	return b.Scope(sc.tenant, sc.subject, sc.session)
}

// sealBlocks seals the blocks of the scopes into the draft and returns their size.
func (w *sealer) sealBlocks(used []*scope) (size int, err error) {
	w.sealed = w.sealed[:0]
	plain, ends := 0, make([]int, len(used))
	for i, sc := range used {
		at := w.at
		at.Scope, at.Class = sc.id, sc.class
		w.sealed, err = w.codec.Seal(w.sealed, sc.keys, &at, w.blocks[i], w.packing)
		if err != nil {
			return 0, err
		}
		plain += w.blocks[i].Len()
		ends[i] = len(w.sealed)
	}
	start := 0
	for _, end := range ends {
		w.draft.Blocks = append(w.draft.Blocks, w.sealed[start:end:end])
		start = end
	}
	if plain > 0 {
		w.ratio = 0.7*w.ratio + 0.3*min(1, 1.1*float64(len(w.sealed))/float64(plain))
	}
	return len(w.sealed), nil
}

// enter puts the entries of scopes into the draft that no frame has yet, and returns these scopes.
func (w *sealer) enter(used []*scope) (fresh []*scope) {
	var wrap *dayWrap
	for _, sc := range used {
		if sc.entered {
			continue
		}
		fresh = append(fresh, sc)
		if !sc.wrap.entered && sc.wrap != wrap {
			wrap = sc.wrap
			e := frame.EncapEntry{Day: wrap.day, Year: wrap.year, Enc: wrap.read.Encapsulation[:]}
			w.draft.Entries = append(w.draft.Entries, e.Append(nil))
		}
		w.draft.Entries = append(w.draft.Entries, sc.entry.Append(nil))
	}
	return fresh
}

// grants makes the grant messages of scopes: one, because the scopes of a frame are wrapped under one encapsulation or,
// at the change of the day, under two.
func (w *sealer) grants(fresh []*scope) ([]byte, error) {
	if len(fresh) == 0 {
		return nil, nil
	}
	m := keyscope.Grants{Cert: w.cert, Week: fresh[0].wrap.intake.Week, Intake: fresh[0].wrap.intake.Encapsulation}
	for _, sc := range fresh {
		if sc.wrap != fresh[0].wrap || len(m.Grants) == keyscope.MaxGrants {
			return nil, errBig
		}
		m.Grants = append(m.Grants, sc.grant)
	}
	return m.Sign(w.key)
}

// commit notes what the frame has brought.
func (w *sealer) commit(fresh []*scope) {
	for _, sc := range fresh {
		sc.entered, sc.wrap.entered = true, true
	}
}
