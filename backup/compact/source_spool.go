package compact

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/spool"
	"github.com/stelelog/stele/internal/transport"
)

// spoolSource reads the lanes of a spool directory that belong to one partition.
type spoolSource struct {
	dir       *spool.Dir
	archive   [16]byte
	partition uint32
	log       *slog.Logger

	partOf  map[[16]byte]int64     // partition of each lane, once known
	since   map[[16]byte]time.Time // of its first message
	readers map[string]*spool.Reader
	broken  map[string]error // damaged lanes
	tried   time.Time        // when those were looked at again that could not be read
	buf     []message
}

func newSpoolSource(dir *spool.Dir, archive [16]byte, partition uint32, log *slog.Logger) *spoolSource {
	return &spoolSource{dir: dir, archive: archive, partition: partition, log: log,
		partOf: map[[16]byte]int64{}, since: map[[16]byte]time.Time{}, readers: map[string]*spool.Reader{}, broken: map[string]error{}}
}

func (s *spoolSource) identity() (cluster, topic string) {
	id := s.dir.ID()
	return hex.EncodeToString(id[:]), ""
}

func (s *spoolSource) lanes(ctx context.Context) ([]string, error) {
	all, err := s.dir.Lanes()
	if err != nil {
		return nil, err
	}
	type lane struct {
		id    string
		since time.Time // of its first message
	}
	s.forget(all)
	s.retry()
	var mine []lane
	for _, l := range all {
		id := hex.EncodeToString(l.ID[:])
		p, err := s.partitionOf(l.ID)
		if errors.Is(err, spool.ErrDamaged) {
			s.breaks(id, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		if p == int64(s.partition) && s.broken[id] == nil {
			mine = append(mine, lane{id, s.since[l.ID]})
		}
	}
	// A stream goes on in another lane after a fault, and a successor speaks of its predecessor: the older lane comes first.
	slices.SortStableFunc(mine, func(a, b lane) int { return a.since.Compare(b.since) })
	var out []string
	for _, l := range mine {
		out = append(out, l.id)
	}
	return out, nil
}

// forget gives up what is known of lanes that are gone: whoever removed them may be another process.
func (s *spoolSource) forget(all []spool.Lane) {
	there := make(map[[16]byte]bool, len(all))
	for _, l := range all {
		there[l.ID] = true
	}
	for id := range s.partOf {
		if lane := hex.EncodeToString(id[:]); !there[id] {
			if r := s.readers[lane]; r != nil {
				r.Close()
			}
			delete(s.readers, lane)
			delete(s.partOf, id)
			delete(s.since, id)
		}
	}
	for lane := range s.broken {
		if id, err := transport.LaneID(strings.TrimSuffix(lane, grantsOf)); err == nil && !there[id] {
			delete(s.broken, lane)
		}
	}
}

// retryUnreadable is how often a lane is tried again that the disk, or its rights, did not let be read.
const retryUnreadable = time.Minute

// retry forgets of lanes that they could not be read: unlike bytes that are not what was written, that may mend.
func (s *spoolSource) retry() {
	if time.Since(s.tried) < retryUnreadable {
		return
	}
	s.tried = time.Now()
	for lane, err := range s.broken {
		if !spool.Unreadable(err) {
			continue
		}
		if r := s.readers[lane]; r != nil {
			r.Close()
		}
		delete(s.readers, lane)
		delete(s.broken, lane)
	}
}

// breaks notes that a lane is damaged. A fault of one disk, or one writer, must not stop all others.
func (s *spoolSource) breaks(lane string, err error) {
	if s.broken[lane] == nil {
		s.log.Error("spool: a lane is damaged, no more of it is read; see 'A spool is damaged' in the operations manual", "lane", lane, "err", err)
		s.broken[lane] = err
	}
}

func (s *spoolSource) damaged() map[string]error { return s.broken }

// grantsOf marks the grants of a lane among what is damaged: its frames are read all the same.
const grantsOf = " grants"

// foreignLane is the partition of a lane of another archive: that of none.
const foreignLane = -2

// partitionOf finds the partition of a lane in its first frame or beat; −1 while there is none.
func (s *spoolSource) partitionOf(lane [16]byte) (int64, error) {
	if p, ok := s.partOf[lane]; ok {
		return p, nil
	}
	r := s.dir.Reader(lane, spool.Frames)
	defer r.Close()
	messages, err := r.Read(0, 1)
	var e *spool.Error
	if errors.As(err, &e) && errors.Is(err, spool.ErrPosition) {
		messages, err = r.Read(e.First, 1)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	if len(messages) == 0 {
		return -1, nil
	}
	p := int64(0) // what cannot be read belongs to partition 0, which sets it aside
	if h, err := frame.ParseHeader(messages[0].Payload); err == nil {
		p = int64(h.Partition)
	} else if b, err := frame.ParseBeat(messages[0].Payload); err == nil {
		p = int64(b.Partition)
	}
	if id, ok := transport.ArchiveOf(messages[0].Payload); ok && id != s.archive {
		p = foreignLane
		s.log.Error("a lane of another archive is left where it is; give each archive a spool of its own", "lane", hex.EncodeToString(lane[:]), "archive", hex.EncodeToString(id[:]))
	}
	s.partOf[lane], s.since[lane] = p, messages[0].Time
	return p, nil
}

func (s *spoolSource) position(ctx context.Context, lane string) (p position, err error) {
	id, err := transport.LaneID(lane)
	if err != nil {
		return p, err
	}
	end, err := s.dir.End(id, spool.Frames)
	var e *spool.Error
	if p.Damaged = errors.As(err, &e) && errors.Is(err, spool.ErrDamaged); p.Damaged {
		end, err = e.Pos, nil
	}
	if err != nil {
		return p, err
	}
	p.End = int64(end)
	r := s.dir.Reader(id, spool.Frames)
	defer r.Close()
	if _, err := r.Read(0, 1); errors.As(err, &e) && errors.Is(err, spool.ErrPosition) {
		p.First = int64(e.First)
	}
	return p, nil
}

func (s *spoolSource) read(ctx context.Context, lane string, from int64, wait time.Duration) ([]message, error) {
	r := s.readers[lane]
	if r == nil {
		id, err := transport.LaneID(lane)
		if err != nil {
			return nil, err
		}
		r = s.dir.Reader(id, spool.Frames)
		s.readers[lane] = r
	}
	messages, err := r.Read(uint64(from), 4<<20)
	switch {
	case errors.Is(err, io.EOF):
		return nil, nil
	case errors.Is(err, spool.ErrPosition):
		return nil, fmt.Errorf("spool: lane %s: %w: %w", lane, fs.ErrNotExist, err)
	case errors.Is(err, spool.ErrDamaged):
		s.breaks(lane, err)
		return nil, nil
	case err != nil:
		return nil, err
	}
	s.buf = s.buf[:0]
	for _, m := range messages {
		s.buf = append(s.buf, message{Pos: int64(m.Pos), Time: m.Time, Data: m.Payload})
	}
	return s.buf, nil
}

func (s *spoolSource) grantsEnd(ctx context.Context) (map[string]int64, error) {
	return transport.SpoolEnds(s.dir, spool.Grants, func(lane string, err error) { s.breaks(lane+grantsOf, err) })
}

func (s *spoolSource) committed(ctx context.Context, next map[string]int64) {
	lanes, err := s.dir.Lanes()
	if err != nil {
		s.log.Warn("spool: listing lanes", "err", err)
		return
	}
	for _, l := range lanes {
		lane := hex.EncodeToString(l.ID[:])
		n, ok := next[lane]
		if !ok {
			continue
		}
		if !l.Held && !l.Ended {
			// The writer died. Claiming its lane cuts a torn tail and marks the end.
			if h, err := s.dir.OpenLane(l.ID); err == nil {
				h.Close()
			}
		}
		if err := s.dir.Trim(l.ID, spool.Frames, uint64(n)); err != nil {
			s.log.Warn("spool: trimming frames", "lane", lane, "err", err)
		}
		if end, err := s.dir.End(l.ID, spool.Frames); err == nil && end == uint64(n) && l.Ended && !l.Held {
			if r := s.readers[lane]; s.dir.Remove(l.ID) == nil && r != nil { // fails while grants are still to be folded
				r.Close()
				delete(s.readers, lane)
			}
		}
	}
}
