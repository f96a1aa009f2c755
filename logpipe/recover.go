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

// recoverLanes finds out how far a stream got that did not close: as far as its tip says, or its lanes if they go on. It
// has more than one after a fault of the disk.
//
// The tip is written before the frame is sent. So it may name a frame that was not appended: lost, if the stream promised
// memory only; of no concern to anybody if it promised more, because then nothing in that frame was acknowledged. Then
// the lanes know better, but only if all frames went through them: always with file, else if a class wanted that.
func recoverLanes(dir *spool.Dir, last *tip, file bool) (*record.RecoveredDetail, error) {
	d := &record.RecoveredDetail{Stream: last.stream, Seq: last.seq, Head: last.head}
	lanes, err := lanesOf(dir, last.stream)
	if err != nil || len(lanes) == 0 {
		return d, err
	}
	if last.durability == keyscope.Spooled || file && last.durability == keyscope.Acked {
		d.Seq, d.Head = 0, merkle.Hash{}
	}
	for _, lane := range lanes {
		if err := recoverLane(dir, lane, d); err != nil {
			return nil, err
		}
	}
	return orTip(d, last), nil
}

// lanesOf are the lanes that hold messages of a stream: that of its id, and those that begin with one.
func lanesOf(dir *spool.Dir, stream [16]byte) (ids [][16]byte, err error) {
	lanes, err := dir.Lanes()
	for _, l := range lanes {
		if l.ID == stream || firstStream(dir, l.ID) == stream {
			ids = append(ids, l.ID)
		}
	}
	return ids, err
}

// firstStream is the stream of the first message that a lane still has, zero if there is none.
func firstStream(dir *spool.Dir, lane [16]byte) (stream [16]byte) {
	message, err := firstMessage(dir, lane)
	if err != nil || message == nil {
		return stream
	}
	if b, err := frame.ParseBeat(message); err == nil {
		return b.Stream
	}
	if h, err := frame.ParseHeader(message); err == nil {
		return h.Stream
	}
	return stream
}

// recoverLane moves d on to what a lane ends with.
func recoverLane(dir *spool.Dir, lane [16]byte, d *record.RecoveredDetail) error {
	end, err := dir.End(lane, spool.Frames)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	const tail = 64 // a beat comes after many frames, never after 64 beats
	r := dir.Reader(lane, spool.Frames)
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
			return nil
		case err != nil:
			return err
		}
		for _, m := range messages {
			further(d, m.Payload)
		}
		from += uint64(len(messages))
	}
	return nil
}

// orTip falls back to the tip where lanes say nothing.
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
