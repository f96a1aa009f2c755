package keys

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"strconv"
	"time"

	"github.com/stelelog/stele/internal/kafka"
	"github.com/stelelog/stele/internal/spool"
	"github.com/stelelog/stele/internal/transport"
)

// message is one message of the grants transport.
type message struct {
	Pos  int64
	Time time.Time // when the transport took it, never the writer's clock
	Data []byte
	Err  error // the transport could not decode it; Data is what there is
}

// spoolGrants reads the grants of all lanes of a spool.
type spoolGrants struct{ dir *spool.Dir }

func (g *spoolGrants) ends(context.Context) (map[string]int64, error) {
	return transport.SpoolEnds(g.dir, spool.Grants)
}

func (g *spoolGrants) read(ctx context.Context, lane string, from int64) ([]message, error) {
	id, err := transport.LaneID(lane)
	if err != nil {
		return nil, err
	}
	r := g.dir.Reader(id, spool.Grants)
	defer r.Close()
	messages, err := r.Read(uint64(from), 1<<20)
	if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	out := make([]message, 0, len(messages))
	for _, m := range messages {
		out = append(out, message{Pos: int64(m.Pos), Time: m.Time, Data: append([]byte(nil), m.Payload...)})
	}
	return out, err
}

// folded trims what was folded. A lane goes when its frames are gone too; whoever comes second removes it.
func (g *spoolGrants) folded(next map[string]int64) {
	lanes, err := g.dir.Lanes()
	if err != nil {
		return
	}
	for _, l := range lanes {
		// A lane without grants must be trimmed too: only then does it count as read.
		if g.dir.Trim(l.ID, spool.Grants, uint64(next[hex.EncodeToString(l.ID[:])])) == nil && l.Ended && !l.Held {
			g.dir.Remove(l.ID) // refuses while frames are left
		}
	}
}

func (g *spoolGrants) close() {}

// kafkaGrants reads the grants topic.
type kafkaGrants struct{ client *kafka.Client }

func (g *kafkaGrants) ends(ctx context.Context) (map[string]int64, error) {
	ends, err := g.client.EndOffsets(ctx)
	out := map[string]int64{}
	for p, end := range ends {
		out[strconv.Itoa(p)] = end
	}
	return out, err
}

func (g *kafkaGrants) read(ctx context.Context, lane string, from int64) ([]message, error) {
	p, err := strconv.Atoi(lane)
	if err != nil {
		return nil, err
	}
	b, err := g.client.Fetch(ctx, p, from, 4<<20, 200*time.Millisecond)
	if errors.Is(err, kafka.ErrOutOfRange) && b.LogStart > from {
		b, err = g.client.Fetch(ctx, p, b.LogStart, 4<<20, 200*time.Millisecond)
	}
	out := make([]message, 0, len(b.Messages))
	for _, m := range b.Messages {
		out = append(out, message{Pos: m.Offset, Time: m.Time, Data: m.Value, Err: m.Err})
	}
	return out, err
}

func (g *kafkaGrants) folded(map[string]int64) {}

func (g *kafkaGrants) close() { g.client.Close() }
