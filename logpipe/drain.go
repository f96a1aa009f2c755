package logpipe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/spool"
)

// maxBatch is how many bytes of messages go into one request, below the usual max.message.bytes of brokers.
const maxBatch = 900 << 10

// drain sends what a lane holds to brokers: grants before the frames behind them.
type drain struct {
	dir     *spool.Dir
	lane    [16]byte
	hold    *spool.Hold // nil while this process writes the lane
	retired bool        // this process wrote the lane and does so no more
	brokers *brokers
	grants  cursor
	frames  cursor
}

// cursor is how far one log of a lane was sent.
type cursor struct {
	reader *spool.Reader
	next   uint64
}

func newDrain(dir *spool.Dir, lane [16]byte, hold *spool.Hold, b *brokers) *drain {
	return &drain{dir: dir, lane: lane, hold: hold, brokers: b,
		grants: cursor{reader: dir.Reader(lane, spool.Grants)}, frames: cursor{reader: dir.Reader(lane, spool.Frames)}}
}

// step sends what the lane holds now, and returns how many messages that were. When it returns, all of them are
// acknowledged, and files that hold nothing else are deleted.
func (d *drain) step(ctx context.Context) (sent int, err error) {
	// What is in frames now has its grants in the other log: read in this order.
	frames, err := d.dir.End(d.lane, spool.Frames)
	if err != nil {
		return 0, err
	}
	grants, err := d.dir.End(d.lane, spool.Grants)
	if err != nil {
		return 0, err
	}
	n, err := d.log(ctx, &d.grants, grants, func(ctx context.Context, messages [][]byte) error {
		return d.brokers.sendGrants(ctx, messages)
	})
	if err != nil {
		return n, err
	}
	m, err := d.log(ctx, &d.frames, frames, func(ctx context.Context, messages [][]byte) error {
		return d.brokers.sendFrames(ctx, partitionOf(messages[0]), messages)
	})
	if n+m > 0 && err == nil {
		err = errors.Join(d.dir.Trim(d.lane, spool.Grants, d.grants.next), d.dir.Trim(d.lane, spool.Frames, d.frames.next))
	}
	return n + m, err
}

// log sends the messages of one log below end.
func (d *drain) log(ctx context.Context, c *cursor, end uint64, send func(context.Context, [][]byte) error) (sent int, err error) {
	for c.next < end {
		got, err := c.reader.Read(c.next, maxBatch)
		var at *spool.Error
		if errors.As(err, &at) && errors.Is(err, spool.ErrPosition) && at.First > c.next {
			c.next = at.First // sent by whoever had the lane before
			continue
		}
		if errors.Is(err, io.EOF) || err == nil && len(got) == 0 {
			return sent, nil
		}
		if err != nil {
			return sent, err
		}
		messages := make([][]byte, 0, len(got))
		for _, m := range got {
			messages = append(messages, m.Payload)
		}
		if err := send(ctx, messages); err != nil {
			return sent, err
		}
		c.next += uint64(len(got))
		sent += len(got)
	}
	return sent, nil
}

// partitionOf reads the partition out of a frame or beat. What is neither goes to partition 0, where it will be set aside.
func partitionOf(raw []byte) int {
	if h, err := frame.ParseHeader(raw); err == nil {
		return int(h.Partition)
	}
	if b, err := frame.ParseBeat(raw); err == nil {
		return int(b.Partition)
	}
	return 0
}

// finish closes what is open, and removes the lane if it is held and was sent to its end.
func (d *drain) finish(sent bool) error {
	d.grants.reader.Close()
	d.frames.reader.Close()
	if d.hold == nil {
		return nil
	}
	var err error
	if sent {
		err = errors.Join(d.dir.Trim(d.lane, spool.Grants, d.hold.Grants), d.dir.Trim(d.lane, spool.Frames, d.hold.Frames))
	}
	if err = errors.Join(err, d.hold.Close()); err != nil || !sent {
		return err
	}
	if err = d.dir.Remove(d.lane); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}

// adopt takes the lanes of an archive that nobody holds.
func adopt(dir *spool.Dir, archive [16]byte, b *brokers) (out []*drain, err error) {
	lanes, err := dir.Lanes()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, l := range lanes {
		if l.Held {
			continue
		}
		if mine, err := ofArchive(dir, l.ID, archive); err != nil || !mine {
			errs = append(errs, err)
			continue
		}
		hold, err := dir.OpenLane(l.ID)
		switch {
		case err == nil:
			out = append(out, newDrain(dir, l.ID, hold, b))
		case errors.Is(err, spool.ErrBusy) || errors.Is(err, fs.ErrNotExist): // another process was faster
		default:
			errs = append(errs, err)
		}
	}
	return out, errors.Join(errs...)
}

// ofArchive says whether the first frame that a lane still has is of the archive. A lane without frames holds nothing
// that matters, and belongs to everybody.
func ofArchive(dir *spool.Dir, lane, archive [16]byte) (bool, error) {
	message, err := firstMessage(dir, lane)
	if errors.Is(err, fs.ErrNotExist) { // sent meanwhile
		return false, nil
	}
	if err != nil || message == nil {
		return err == nil, err
	}
	if b, err := frame.ParseBeat(message); err == nil {
		return b.Archive == archive, nil
	}
	h, err := frame.ParseHeader(message)
	return err == nil && h.Archive == archive, nil
}

// firstMessage is the first frame or beat that a lane still has, nil if there is none.
func firstMessage(dir *spool.Dir, lane [16]byte) ([]byte, error) {
	r := dir.Reader(lane, spool.Frames)
	defer r.Close()
	got, err := r.Read(0, 1)
	var at *spool.Error
	if errors.As(err, &at) && errors.Is(err, spool.ErrPosition) {
		got, err = r.Read(at.First, 1)
	}
	switch {
	case errors.Is(err, io.EOF), err == nil && len(got) == 0:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return bytes.Clone(got[0].Payload), nil
}

// DrainSpool sends what dead pipes left in the spool directory dir to the brokers that cfg names, in the order of each
// stream, and removes what was acknowledged. Lanes that a live pipe holds, and those of other archives than that of the
// credential, are left alone. It returns how many messages were sent. Messages that were sent before may be sent again;
// the archive drops them.
func DrainSpool(ctx context.Context, dir string, cfg Config) (sent int, err error) {
	set, err := cfg.settle()
	if err != nil {
		return 0, err
	}
	if set.filedir != "" {
		return 0, &OpError{"drain", "destination", errors.New("a file:// destination is itself the spool: its compactor reads it; name a kafka:// URL")}
	}
	d, err := spool.Open(dir, spool.Options{MustExist: true, Archive: set.writer.Archive})
	if err != nil {
		return 0, &OpError{"drain", "spool directory", err}
	}
	b, err := openBrokers(set)
	if err != nil {
		return 0, &OpError{"drain", "destination", err}
	}
	defer b.close()
	if err := b.check(ctx); err != nil {
		return 0, &OpError{"drain", "destination", err}
	}
	lanes, err := adopt(d, set.writer.Archive, b)
	errs := []error{err}
	for _, l := range lanes {
		n, err := l.step(ctx)
		sent += n
		errs = append(errs, err, l.finish(err == nil))
	}
	if err := errors.Join(errs...); err != nil {
		return sent, &OpError{"drain", "", err}
	}
	return sent, nil
}
