package keys

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
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

// grantSource is the grants transport.
type grantSource interface {
	// identity names the cluster and the topic; a change means another history.
	identity(ctx context.Context) (cluster, topic string, err error)
	// ends lists the lanes and their ends.
	ends(ctx context.Context) (map[string]int64, error)
	// read returns messages of a lane from a position on, or none.
	read(ctx context.Context, lane string, from int64) ([]message, error)
	// trim removes what lies below the positions: it is in the key store, read back.
	trim(ctx context.Context, next map[string]int64) error
	// take takes the role of folding these grants, if one process can be kept from getting into the way of another.
	take() (release func() error, err error)
	// run calls work while the role is this process's, with a context that ends with the role, until ctx ends. failing is told
	// why nobody can say whose the role is, and nil when that is known.
	run(ctx context.Context, failing func(error), work func(ctx context.Context) error) error
	close()
}

// openGrants opens the grants transport that belongs to a frames transport.
func openGrants(cfg Config, archive [16]byte) (grantSource, error) {
	if cfg.grants != nil {
		return cfg.grants, nil
	}
	if !strings.HasPrefix(cfg.From, "file:") {
		frames, grants, err := transport.Open(cfg.From, transport.Access{Username: cfg.Username, Password: cfg.Password, TLS: cfg.TLS, Logger: cfg.Logger})
		if err != nil {
			return nil, err
		}
		frames.Close()
		return &kafkaGrants{client: grants, archive: hex.EncodeToString(archive[:])}, nil
	}
	path, err := transport.FilePath(cfg.From)
	if err != nil {
		return nil, err
	}
	dir, err := transport.OpenSpool(path, archive)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; if it is lost, an empty directory will do: what is in the key store can still be read", err)
	}
	if err != nil {
		return nil, err
	}
	return &spoolGrants{dir: dir, log: cfg.Logger, broken: map[string]bool{}}, nil
}

// spoolGrants reads the grants of all lanes of a spool. It is not safe for concurrent use.
type spoolGrants struct {
	dir    *spool.Dir
	log    *slog.Logger
	broken map[string]bool // lanes whose damage was reported
}

// breaks reports damage, once: it must not keep the grants of other lanes from the key store.
func (g *spoolGrants) breaks(lane string, err error) {
	if !g.broken[lane] && g.log != nil {
		g.log.Error("spool: the grants of a lane are damaged, those behind the damage are not taken in; see 'A spool is damaged' in the operations manual", "lane", lane, "err", err)
	}
	g.broken[lane] = true
}

func (g *spoolGrants) identity(context.Context) (cluster, topic string, err error) {
	id := g.dir.ID()
	return hex.EncodeToString(id[:]), "", nil
}

func (g *spoolGrants) ends(context.Context) (map[string]int64, error) {
	return transport.SpoolEnds(g.dir, spool.Grants, g.breaks)
}

func (g *spoolGrants) read(ctx context.Context, lane string, from int64) ([]message, error) {
	id, err := transport.LaneID(lane)
	if err != nil {
		return nil, err
	}
	r := g.dir.Reader(id, spool.Grants)
	defer r.Close()
	messages, err := r.Read(uint64(from), 1<<20)
	var e *spool.Error
	if errors.Is(err, spool.ErrPosition) && errors.As(err, &e) && e.First > uint64(from) { // trimmed: folded by whoever did
		messages, err = r.Read(e.First, 1<<20)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if errors.Is(err, spool.ErrDamaged) {
		g.breaks(lane, err)
		return nil, nil
	}
	out := make([]message, 0, len(messages))
	for _, m := range messages {
		out = append(out, message{Pos: int64(m.Pos), Time: m.Time, Data: append([]byte(nil), m.Payload...)})
	}
	return out, err
}

// trim removes files of grants. A lane goes when its frames are gone too; whoever comes second removes it.
func (g *spoolGrants) trim(_ context.Context, next map[string]int64) error {
	lanes, err := g.dir.Lanes()
	if err != nil {
		return err
	}
	for _, l := range lanes {
		// A lane without grants must be trimmed too: only then does it count as read.
		failed := g.dir.Trim(l.ID, spool.Grants, uint64(next[hex.EncodeToString(l.ID[:])]))
		if failed == nil && l.Ended && !l.Held {
			g.dir.Remove(l.ID) // refuses while frames are left
		}
		err = errors.Join(err, failed)
	}
	return err
}

func (g *spoolGrants) take() (func() error, error) {
	release, err := g.dir.Role("keys")
	if errors.Is(err, spool.ErrBusy) {
		return nil, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return release, err
}

func (g *spoolGrants) run(ctx context.Context, _ func(error), work func(context.Context) error) error {
	return work(ctx)
}

func (g *spoolGrants) close() {}

// kafkaGrants reads the grants topic.
type kafkaGrants struct {
	client  *kafka.Client
	archive string // hex
	checked bool
}

// roleGroup shares the role of folding among key services: the one that has the topic's single partition has it.
// It is the archive's: another one that was given the same topic by mistake must be able to save its grants.
const roleGroup = "stele-keys-"

// identity asks each time: a topic can be deleted and made anew while this runs.
func (g *kafkaGrants) identity(ctx context.Context) (cluster, topic string, err error) {
	ask := g.client.Present
	if !g.checked {
		ask = g.client.Check
	}
	t, err := ask(ctx)
	if err != nil {
		return "", "", err
	}
	g.checked = true
	return t.Cluster, hex.EncodeToString(t.ID[:]), nil
}

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
	const wait = 200 * time.Millisecond
	b, err := g.client.Fetch(ctx, p, from, 4<<20, wait)
	if errors.Is(err, kafka.ErrOutOfRange) && b.LogStart > from {
		if b.LogStart >= b.HighWatermark {
			return nil, nil // all was removed
		}
		b, err = g.client.Fetch(ctx, p, b.LogStart, 4<<20, wait)
	}
	for err == nil && len(b.Messages) == 0 && b.Next > from { // markers of somebody's transactions
		from = b.Next
		b, err = g.client.Fetch(ctx, p, from, 4<<20, wait)
	}
	out := make([]message, 0, len(b.Messages))
	for _, m := range b.Messages {
		out = append(out, message{Pos: m.Offset, Time: m.Time, Data: m.Value, Err: m.Err})
	}
	return out, err
}

// trim moves the start of the topic. Brokers remove whole segment files, some time later.
func (g *kafkaGrants) trim(ctx context.Context, next map[string]int64) (err error) {
	for lane, n := range next {
		p, bad := strconv.Atoi(lane)
		if bad != nil || n == 0 {
			continue
		}
		start, _, failed := g.client.Offsets(ctx, p)
		if failed == nil && start < n {
			_, failed = g.client.DeleteRecords(ctx, p, n)
		}
		err = errors.Join(err, failed)
	}
	return err
}

func (g *kafkaGrants) take() (func() error, error) { return func() error { return nil }, nil }

func (g *kafkaGrants) run(ctx context.Context, failing func(error), work func(context.Context) error) error {
	return g.client.RunGroup(ctx, roleGroup+g.archive, failing, func(ctx context.Context, partitions []int) error {
		if len(partitions) > 0 {
			if err := work(ctx); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return nil
	})
}

func (g *kafkaGrants) close() { g.client.Close() }
