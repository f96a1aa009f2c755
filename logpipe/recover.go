package logpipe

import (
	"errors"
	"io"
	"io/fs"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/spool"
	"github.com/stelelog/stele/merkle"
)

// recoverLane finds out how far a stream got that did not close: as far as its tip says, or its lane if that goes on.
//
// The tip is written before the frame is sent. So it may name a frame that was not appended: lost, if the stream promised
// memory only; of no concern to anybody if it promised more, because then nothing in that frame was acknowledged.
func recoverLane(dir *spool.Dir, last *tip) (*record.RecoveredDetail, error) {
	d := &record.RecoveredDetail{Stream: last.stream, Seq: last.seq, Head: last.head}
	end, err := dir.End(last.stream, spool.Frames)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return nil, err
	}
	if last.durability >= keyscope.Spooled {
		d.Seq, d.Head = 0, merkle.Hash{}
	}
	const tail = 64 // a beat comes after many frames, never after 64 beats
	r := dir.Reader(last.stream, spool.Frames)
	defer r.Close()
	from := end - min(end, tail)
	for from < end {
		messages, err := r.Read(from, 0)
		var at *spool.Error
		switch {
		case errors.As(err, &at) && errors.Is(err, spool.ErrPosition) && at.First > from:
			from = at.First
			continue
		case errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) || err == nil && len(messages) == 0:
			return orTip(d, last), nil
		case err != nil:
			return nil, err
		}
		for _, m := range messages {
			further(d, m.Payload)
		}
		from += uint64(len(messages))
	}
	return orTip(d, last), nil
}

// orTip falls back to the tip where a lane says nothing.
func orTip(d *record.RecoveredDetail, last *tip) *record.RecoveredDetail {
	if d.Head == (merkle.Hash{}) {
		d.Seq, d.Head = last.seq, last.head
	}
	return d
}

// further notes the frame or beat raw if it goes on beyond d.
func further(d *record.RecoveredDetail, raw []byte) {
	if h, err := frame.ParseHeader(raw); err == nil {
		if h.Stream == d.Stream && h.Next()-1 >= d.Seq {
			d.Seq, d.Head = h.Next()-1, frame.Head(raw)
		}
	} else if b, err := frame.ParseBeat(raw); err == nil && b.Stream == d.Stream && b.Seq >= d.Seq {
		d.Seq, d.Head = b.Seq, b.Head
	}
}
