package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/ledger"
	"github.com/stelelog/stele/merkle"
)

// VerifyOptions says how far a verification goes.
type VerifyOptions struct {
	Reader   *Reader                  // also open every block and check the commitments to the plaintext
	Locked   error                    // why there is no Reader although one was asked for: the key store does not open, say. Nothing is readable then
	Progress func(done, total uint64) // leaves; called now and then from one goroutine
	Since    [][]byte                 // signed heads of the control log that were seen before: the log must continue them
	Now      time.Time                // to judge what lives and what is still locked; the present if zero
}

// Verify reads the whole archive and checks it against the trust file: every byte of every object, every signature,
// chain, tree and head, and how complete each stream is. Faults are in the report; an error means that the store
// could not be read or ctx ended. It needs memory for the index of one segment and some pieces of the rest.
func (a *Archive) Verify(ctx context.Context, opt VerifyOptions) (*Report, error) {
	return a.verify(ctx, opt, pieceBytes)
}

// verify reads objects in pieces of so many bytes, a multiple of 32.
func (a *Archive) verify(ctx context.Context, opt VerifyOptions, piece int64) (*Report, error) {
	if opt.Now.IsZero() {
		opt.Now = time.Now()
	}
	r := &Report{Stele: "report/v1", Archive: fmt.Sprintf("%x", a.trust.Archive), Name: a.trust.Name, Time: opt.Now.UTC(),
		Logs: []LogReport{}, Streams: []StreamReport{}, Faults: []Fault{}, Notices: []Fault{}}
	v := &verifier{a: a, r: r, opt: opt, mem: checkMemory{piece: piece, blocks: map[string][]uint32{}}, followed: map[*openLog]*streamCheck{}}
	for _, l := range a.logs {
		v.total += l.size()
	}
	v.controlLog()
	if err := v.checkpoints(ctx); err != nil {
		return nil, err
	}
	if err := v.since(); err != nil {
		return nil, err
	}
	if err := v.anchoring(ctx); err != nil {
		return nil, err
	}
	if err := v.startKeys(ctx); err != nil {
		return nil, err
	}
	first := map[uint32]string{}
	for _, l := range a.logs {
		if other := first[l.partition]; other != "" && len(l.commits) > 0 && l.chain.Before == nil {
			r.fault(integrity, l.chain.Origin, "it starts anew what %s holds: a partition has one history", other)
		}
		if len(l.commits) > 0 {
			first[l.partition] = l.chain.Origin
		}
		if err := v.log(ctx, l); err != nil {
			return nil, err
		}
	}
	v.former()
	v.streams()
	if a.unfounded != nil {
		r.strange()
	}
	return r, v.conclude(ctx)
}

func (l *openLog) size() uint64 {
	if l.chain.Last == nil {
		return 0
	}
	return l.chain.Last.Tree.Size
}

// verifier is one run of Verify.
type verifier struct {
	a           *Archive
	r           *Report
	opt         VerifyOptions
	total, done uint64
	said        []logTips // what the frames say of streams
	followed    map[*openLog]*streamCheck
	left        map[string]bool // objects of the present log that have expired and are still there
	mem         checkMemory
	keys        *keyCheck

	anchored, unanchored string // words for the verdict, one of them

	locked, unlocked int // objects whose lock was seen to hold, and that claim none
	lockModes        map[string]int
	unreadLocks      int
}

// controlLog reports what the chain of the control log holds that it should not.
func (v *verifier) controlLog() {
	c := v.a.control
	found := c.Findings()
	v.r.findings(&found)
	c.View(func(s *control.State) {
		v.r.Control = s.Size()
		if v.a.unfounded != nil {
			v.r.fault(integrity, ledger.Prefix, "no access policy can be read: %v", v.a.unfounded)
		}
		for _, l := range s.Listed {
			switch {
			case errors.As(l.Unauthorised, new(*control.FalseLogs)):
				v.r.fault(integrity, fmt.Sprintf("%s entry %d", ledger.Prefix, l.Index), "%v: answers under it may lack a log", l.Unauthorised)
			case errors.As(l.Unauthorised, new(*control.FalseRoster)):
				v.r.fault(integrity, fmt.Sprintf("%s entry %d", ledger.Prefix, l.Index), "%v: evidence under them may name whom the log does not", l.Unauthorised)
			case l.Unauthorised != nil:
				v.r.notice(integrity, fmt.Sprintf("%s entry %d", ledger.Prefix, l.Index), "has no effect: %v", l.Unauthorised)
			case l.Type == control.TypeDisclosure:
				v.r.Disclosures++
			case l.Type == control.TypeQuarantine:
				v.reasons(&l.Entry)
			}
		}
		for _, d := range s.Divergences {
			if d.Kind == control.DivergedEquivocation {
				v.r.fault(integrity, d.Log, "equivocation: %s (stream %v)", d.Detail, d.Stream)
			} else {
				v.r.notice(integrity, d.Log, "%s, reported by a compactor: %s", d.Kind, d.Detail)
			}
		}
	})
}

// reasons adds up why messages were set aside. Senders make them up, so only so many are told apart.
func (v *verifier) reasons(e *control.Entry) {
	var q control.Quarantine
	if e.Into(&q) != nil {
		return
	}
	if v.r.QuarantinedFor == nil {
		v.r.QuarantinedFor = map[string]uint64{}
	}
	for reason, n := range q.Reasons {
		if _, known := v.r.QuarantinedFor[reason]; !known && len(v.r.QuarantinedFor) >= control.MaxReasons {
			reason = "other"
		}
		v.r.QuarantinedFor[reason] += n
	}
}

// log verifies one log.
func (v *verifier) log(ctx context.Context, l *openLog) error {
	v.r.findings(&l.findings)
	if err := v.listed(ctx, l); err != nil {
		return err
	}
	streams := v.follow(l)
	defer func() { v.said = addTips(v.said, l, streams.tips()) }()
	for i := range l.commits {
		c := &l.commits[i]
		if err := v.commit(ctx, l, c, streams); err != nil {
			return err
		}
		var before *commit.Commit
		if i > 0 {
			before = l.commits[i-1].Commit
		}
		if err := c.CheckSpans(before); err != nil {
			v.r.fault(integrity, c.key, "%v", err)
		}
		streams.compare(c.Commit, func(id commit.Hex16, err error) {
			v.r.fault(integrity, c.key, "stream %s: %v", id, err)
		})
		v.done += c.Tree.Size - c.Tree.First
		if v.opt.Progress != nil {
			v.opt.Progress(v.done, v.total)
		}
	}
	provable := v.heads(l)
	v.unprovable(l, provable)
	v.sourceGaps(l)
	lr := LogReport{Origin: l.chain.Origin, Commits: uint64(len(l.commits)), Size: l.size(), Provable: provable}
	if last := l.chain.Last; last != nil {
		lr.Root, lr.Newest = last.Tree.Root.String(), last.SourceTime
		if last.Final != nil {
			lr.Next = last.Final.Next
		}
	}
	v.r.Logs = append(v.r.Logs, lr)
	v.r.Leaves += l.size()
	return nil
}

// follow returns the streams of a log as they were at the end of the one that it continues.
func (v *verifier) follow(l *openLog) *streamCheck {
	s := v.followed[l.before]
	delete(v.followed, l.before)
	if s == nil {
		s = newStreamCheck(v.a, l)
	}
	s.log = l
	v.followed[l] = s
	if l.chain.Before == nil {
		return s
	}
	if c := l.commits[0]; l.before != nil {
		if err := c.Repeats(l.before.chain.Lanes, l.before.chain.Tips); err != nil {
			v.r.fault(integrity, c.key, "%v", err)
		}
	}
	return s
}

// quarantine counts what a commit set aside.
func (v *verifier) quarantine(c *commit.Commit) {
	v.r.Quarantined += c.Quarantined
	if o := c.Object(commit.KindQuarantine, ""); o != nil && len(v.r.Quarantine) < chain.MaxListed {
		v.r.Quarantine = append(v.r.Quarantine, o.Key)
	}
}

// commit verifies the objects of one commit.
func (v *verifier) commit(ctx context.Context, l *openLog, c *logCommit, streams *streamCheck) error {
	v.r.Records += c.Records
	v.quarantine(c.Commit)
	if err := l.shape(c.Commit); err != nil {
		v.r.fault(integrity, c.key, "%v", err)
		streams.skip(c.Commit)
		return nil
	}
	if err := v.locks(ctx, c); err != nil {
		return err
	}
	check := segmentCheck{v: v, c: c, mem: &v.mem}
	if r := v.opt.Reader; r != nil {
		check.open = &unlocking{r: r, l: l, c: c, report: v.r}
	}
	return check.run(ctx, streams)
}

// heads checks the heads in the control log against the chain, and returns how many leaves the newest covers.
func (v *verifier) heads(l *openLog) (provable uint64) {
	for _, h := range v.a.heads[l.chain.Origin] {
		c, err := l.commitAt(h.Commit)
		if err != nil {
			v.r.fault(integrity, fmt.Sprintf("%s%020d", datalog.CommitsPrefix(l.partition, l.period), h.Commit),
				"the control log holds the head of commit %d (%s…), but the store has no such commit: the log was cut or rewritten, or this is a copy that was made while a compactor worked", h.Commit, h.Hash.String()[:12])
			continue
		}
		if c.hash != h.Hash {
			v.r.fault(integrity, c.key, "the control log holds %s… for this commit, the store %s…: the log was rewritten", h.Hash.String()[:12], c.hash.String()[:12])
			continue
		}
		if err := v.checkHead(&h, c.Commit); err != nil {
			v.r.fault(integrity, c.key, "head in the control log: %v", err)
			continue
		}
		provable = max(provable, c.Tree.Size)
	}
	return provable
}

// unprovable reports commits whose heads should be in the control log by now: their compactor died, or it was cut.
func (v *verifier) unprovable(l *openLog, provable uint64) {
	for i := range l.commits {
		if c := &l.commits[i]; c.Tree.Size > provable && v.opt.Now.Sub(c.Time) > staleAfter {
			v.r.fault(completeness, c.key, "made at %s, and the control log still holds no head that covers it", c.Time.Format(time.RFC3339))
			return
		}
	}
}

// checkHead holds a head against the commit that it is of. Its author may be another compactor, let in later.
func (v *verifier) checkHead(h *control.LoggedHead, c *commit.Commit) error {
	var key note.Verifier
	var err error
	v.a.control.View(func(s *control.State) { key, err = s.Compactor(h.By, h.Index) })
	if err != nil {
		return err
	}
	cp, err := merkle.OpenCheckpoint([]byte(h.Checkpoint), c.Log, note.VerifierList(key))
	if err != nil {
		return err
	}
	if cp.Size != c.Tree.Size || cp.Root != c.Tree.Root {
		return errors.New("checkpoint is not of this commit")
	}
	return nil
}

// sourceGaps reports what the transport removed before it was archived.
func (v *verifier) sourceGaps(l *openLog) {
	seen := map[string]bool{}
	for i := range l.commits {
		for lane, at := range l.commits[i].Source.Lanes {
			for _, g := range at.Gap {
				id := fmt.Sprintf("%s lane %s: %d-%d", l.chain.Origin, lane, g[0], g[1]-1)
				if !seen[id] {
					seen[id] = true
					v.r.notice(completeness, id, "the transport removed these messages before they were archived; streams say what is missing")
				}
			}
		}
	}
}

// streams reports how complete each stream is.
func (v *verifier) streams() {
	v.r.Streams = append(v.r.Streams, v.a.judgeStreams(v.said, v.opt.Now)...)
	for _, s := range v.r.Streams {
		if !s.Complete {
			v.r.fault(completeness, "stream "+s.Stream, "%s (%s)", s.Verdict, s.Service)
		}
	}
}

// liveOnes says how many streams count as complete although they have not ended, and up to when that is known.
func liveOnes(streams []StreamReport) string {
	var n int
	var oldest time.Time
	for i := range streams {
		if s := &streams[i]; s.State == "live" {
			if n++; oldest.IsZero() || s.LastBeat.Before(oldest) {
				oldest = s.LastBeat
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", as far as is known: %d live, by signs not older than %s, after which they may have ended", n, oldest.UTC().Format(time.RFC3339))
}

// conclude words the verdicts.
func (v *verifier) conclude(ctx context.Context) error {
	r := v.r
	keys, noKeys, err := v.keys.conclude(ctx)
	if err != nil {
		return err
	}
	checked := map[string]string{
		integrity: fmt.Sprintf("%s in %s, %s: every byte, signature, chain, tree and head checked",
			number(r.Leaves, "leaf"), number(len(r.Logs), "log"), number(r.Control, "control entry")),
		completeness: fmt.Sprintf("%s: none has a gap, an undeclared end or an unacknowledged loss%s; what bypassed the library cannot be seen here",
			number(len(r.Streams), "stream"), liveOnes(r.Streams)),
	}
	checked[anchoring] = v.anchored
	unchecked := map[string]string{
		anchoring:   v.unanchored,
		erasure:     noKeys,
		readability: "not asked for; --unlock opens every block and checks the commitments",
		locking:     "the store holds nothing by itself (a directory, or lock none): files are read-only, which is advisory",
	}
	if r.Expired > 0 {
		checked[integrity] += fmt.Sprintf("; %s expired by policy", number(r.Expired, "object"))
	}
	if v.locked > 0 && v.unlocked == 0 && v.unreadLocks == 0 {
		checked[locking] = number(v.locked, "object") + ": the store reports each lock as the commit says"
	} else if v.unreadLocks > 0 {
		unchecked[locking] = fmt.Sprintf("locks of %s could not be read; this may be a copy", number(v.unreadLocks, "object"))
	}
	if v.a.unfounded != nil {
		delete(checked, completeness)
		unchecked[completeness] = "without an access policy no stream can be judged"
	}
	if v.opt.Locked != nil {
		r.fault(readability, keydepot.Roots, "nothing can be opened: %v", v.opt.Locked)
	}
	if v.opt.Reader != nil {
		checked[readability] = number(r.Opened, "record") + " opened, each equal to its commitment"
	}
	checked[erasure] = keys
	r.conclude(checked, unchecked)
	return nil
}
