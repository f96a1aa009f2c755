package backup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/ledger"
)

// Archive is an archive opened with the trust file alone: enough to verify it, not to read payloads. Its methods are
// safe for concurrent use.
type Archive struct {
	store   worm.Store
	trust   identity.Trust
	control *ledger.Log
	logs    []*openLog
	heads   map[string][]control.LoggedHead // as they were before the logs were read
	former  []control.LoggedHead            // likewise, of those who are compactors no longer
	ends    []uint64                        // of the objects of the control log, then

	expiries expiries

	unfounded error // why nothing here counts
}

// openLog is one log with all its commits.
type openLog struct {
	partition uint32
	period    string
	before    *openLog // the log that this one continues; nil for none, and where that has expired
	chain     *datalog.Chain
	commits   []logCommit
	byNumber  map[uint64]int
	findings  chain.Findings
}

type logCommit struct {
	*commit.Commit
	key, version string
	hash         commit.Hex32
}

// OpenArchive reads the control log and the commits of all logs. It fails if the store cannot be read or holds no
// archive of this trust file; what is wrong with an archive is for Verify to say.
func OpenArchive(ctx context.Context, store worm.Store, trust []byte) (*Archive, error) {
	a := &Archive{store: store}
	if err := a.trust.UnmarshalText(trust); err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	var err error
	if a.control, err = ledger.Open(ctx, store, a.trust); err != nil {
		return nil, err
	}
	if a.unfounded = a.control.Founded(ctx); ctx.Err() != nil {
		return nil, ctx.Err()
	}
	a.control.View(func(s *control.State) {
		a.heads = map[string][]control.LoggedHead{}
		for log, heads := range s.Heads {
			a.heads[log] = slices.Clone(heads)
		}
		a.former = slices.Clone(s.Former)
		a.ends = s.Ends()
	})
	if err := a.readExpiries(ctx); err != nil {
		return nil, err
	}
	ps, err := datalog.Partitions(ctx, store)
	if err != nil {
		return nil, err
	}
	for _, p := range ps {
		periods, err := datalog.Periods(ctx, store, p)
		if err != nil {
			return nil, err
		}
		for _, period := range periods {
			if err := a.openLog(ctx, p, period); err != nil {
				return nil, err
			}
		}
	}
	a.missingLogs()
	if errors.Is(a.unfounded, ledger.ErrEmpty) && len(a.logs) == 0 {
		return nil, fmt.Errorf("no archive here: %w. Is it the right archive URL for the trust file of %s?", a.unfounded, a.trust.Name)
	}
	return a, nil
}

// ForeignError says, of any package of this module, that a trust file is of another archive than a store, an identity or a role file.
type ForeignError = identity.ForeignError

// Founded returns nil if the archive is that of the trust file. Otherwise nothing in it counts, so that it looks empty;
// the error says what lies there instead, and Verify what is wrong with it. It is a [ForeignError] if the archive is another one,
// or another key has signed it.
func (a *Archive) Founded() error { return a.unfounded }

func (a *Archive) openLog(ctx context.Context, partition uint32, period string) error {
	l := &openLog{partition: partition, period: period, byNumber: map[uint64]int{}}
	l.chain = datalog.New(a.control, a.store, &a.trust, partition, period)
	l.chain.Took = func(o chain.Object, c *commit.Commit) {
		l.byNumber[c.N] = len(l.commits)
		l.commits = append(l.commits, logCommit{c, o.Key, o.Version, commit.Hash(o.Data)})
	}
	l.chain.Closed = func(_ context.Context, end commit.End) (*datalog.Ending, error) { return a.closed(l, end) }
	err := l.chain.Read(ctx, l.findings.Add)
	if err != nil {
		return err
	}
	a.logs = append(a.logs, l)
	return nil
}

// closed finds the log that l says it continues, among those of its partition, which were opened before it.
func (a *Archive) closed(l *openLog, end commit.End) (*datalog.Ending, error) {
	for _, other := range a.logs {
		last := other.chain.Last
		if other.partition != l.partition || other.chain.Origin != end.Log || last == nil || last.Final == nil || last.N != end.N {
			continue
		}
		l.before = other
		return &datalog.Ending{Hash: other.chain.LastHash, Commit: last}, nil
	}
	return nil, fmt.Errorf("%w: commit %d of %s is no final one, or not there", chain.ErrOrphan, end.N, end.Log)
}

// missingLogs adds empty logs for those that the control log has heads of and the store has nothing of.
func (a *Archive) missingLogs() {
	for _, origin := range slices.Sorted(maps.Keys(a.heads)) {
		if slices.ContainsFunc(a.logs, func(l *openLog) bool { return l.chain.Origin == origin }) {
			continue
		}
		partition, period, _ := strings.Cut(strings.TrimPrefix(origin, a.trust.Name+"/"), "/")
		p, _ := strconv.ParseUint(partition, 10, 32)
		l := &openLog{partition: uint32(p), period: period, byNumber: map[uint64]int{}}
		l.chain = datalog.New(a.control, a.store, &a.trust, l.partition, period)
		l.chain.Origin = origin // also where it is no name of a log
		a.logs = append(a.logs, l)
	}
}

// ID is the id of the archive, in hex.
func (a *Archive) ID() string { return fmt.Sprintf("%x", a.trust.Archive) }

// Name is the name of the archive.
func (a *Archive) Name() string { return a.trust.Name }

// Writers lists the writers of the newest access policy, none without one.
func (a *Archive) Writers() []WriterInfo { return writersOf(a.control.Policy()) }

// WriterInfo is a writer as the access policy knows it.
type WriterInfo struct {
	Name    string     `json:"name"`
	Key     []byte     `json:"key"` // Ed25519 public key
	Revoked *time.Time `json:"revoked,omitempty"`
}

// writersOf lists the writers of a policy, which may be nil.
func writersOf(p *control.Policy) []WriterInfo {
	out := []WriterInfo{}
	if p != nil {
		for _, w := range p.Writers {
			out = append(out, WriterInfo(w))
		}
	}
	return out
}

// IntakeLeft is for how many weeks, the present one included, the archive has intake keys that credentials can be given.
func (a *Archive) IntakeLeft(now time.Time) (weeks int) {
	p := a.control.Policy()
	if p == nil {
		return 0
	}
	for _, k := range p.Intake {
		weeks = max(weeks, int(k.Week)-int(keyscope.Week(now))+1)
	}
	return weeks
}

// Segment describes one commit for people.
type Segment struct {
	Log         string   `json:"log"`
	Commit      uint64   `json:"commit"`
	Hash        string   `json:"hash"`
	By          string   `json:"by"`
	Time        string   `json:"time"`
	First       uint64   `json:"first"` // leaves [first, size)
	Size        uint64   `json:"size"`
	Records     uint64   `json:"records"`
	Bytes       int64    `json:"bytes"` // of all objects
	Objects     []string `json:"objects"`
	Quarantined uint64   `json:"quarantined,omitempty"`
	Duplicates  uint64   `json:"duplicates,omitempty"`
	Lock        string   `json:"lock"`
	Until       string   `json:"until,omitempty"` // the earliest end of a lock
}

// Segments lists all commits, by log and number.
func (a *Archive) Segments() []Segment {
	out := []Segment{}
	for _, l := range a.logs {
		for _, c := range l.commits {
			s := Segment{Log: c.Log, Commit: c.N, Hash: c.hash.String(), By: c.By, Time: c.Time.Format("2006-01-02T15:04:05Z07:00"),
				First: c.Tree.First, Size: c.Tree.Size, Records: c.Records, Quarantined: c.Quarantined, Duplicates: c.Duplicates}
			for i := range c.Objects {
				o := &c.Objects[i]
				s.Objects = append(s.Objects, o.Key)
				s.Bytes += o.Size
				s.Lock = o.Lock
				if o.Until != nil {
					if u := o.Until.Format("2006-01-02"); s.Until == "" || u < s.Until {
						s.Until = u
					}
				}
			}
			out = append(out, s)
		}
	}
	return out
}

// commitAt finds commit n of the log that was followed.
func (l *openLog) commitAt(n uint64) (logCommit, error) {
	i, ok := l.byNumber[n]
	if !ok {
		return logCommit{}, fmt.Errorf("%s has no commit %d", l.chain.Origin, n)
	}
	return l.commits[i], nil
}

var (
	errErased  = errors.New("erased")
	errExpired = errors.New("expired by policy")
)
