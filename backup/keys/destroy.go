package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyroot"
)

// Generation is what custodians say of one generation.
type Generation struct {
	Number     uint64
	Sets       [][]string      // minimal authorised sets
	Statements []Statement     // of its custodians, by name
	Destroyed  bool            // a blocking set has destroyed its keys
	Dead       time.Time       // from when on nothing can open it; zero where no time can be stated
	Class      custodian.Class // of the destruction: that of the worst custodian which it needs
}

// Statement is what a custodian says of its key of a generation.
type Statement struct {
	Custodian     string
	State         custodian.State
	Class         custodian.Class
	Destroyed     time.Time
	Irrecoverable time.Time
	Attestation   []byte
}

// deadGenerations are those that custodians have destroyed, as this process has seen, or one with its key.
type deadGenerations struct {
	numbers  map[uint64]bool
	recalled bool // what was said of them before this process began is in there
}

// destroy has every generation destroyed that is older than the live one, which was read back, and fills in what
// custodians say. It is repeated until it succeeds. Requires mu.
func (s *Service) destroy(ctx context.Context, out *Erased) error {
	s.recall()
	watermark := s.version.Generation
	all := s.depot.State().Generations()
	failed := s.replicate(ctx)
	if out != nil {
		out.replica = failed != nil
	}
	waits := failed != nil
	for i := len(all) - 1; i >= 0; i-- {
		g := &all[i]
		if g.Number >= s.version.Generation || s.dead.numbers[g.Number] && (out == nil || g.Number != out.Before.Generation) {
			continue
		}
		if waits {
			watermark = min(watermark, g.Number)
			if out != nil {
				out.Generations = append(out.Generations, Generation{Number: g.Number, Sets: g.Sets})
			}
			continue
		}
		said, err := s.destroyOne(ctx, g)
		if said.Destroyed {
			s.dead.numbers[g.Number] = true
		} else {
			watermark = min(watermark, g.Number)
			failed = errors.Join(failed, err)
		}
		if out != nil {
			out.Generations = append(out.Generations, said)
		}
	}
	if out != nil {
		out.Watermark = watermark
	}
	if failed != nil {
		return fmt.Errorf("the old keys are not destroyed yet; this is repeated until they are: %w", failed)
	}
	return s.step("destroyed")
}

// recall takes up what this service, under its own key, has said of old generations before. What others say is not enough:
// a key service that lies would have an old generation live on. Requires mu.
func (s *Service) recall() {
	if s.dead.recalled || s.signer == nil {
		return
	}
	var before uint64
	s.control.View(func(c *control.State) { before = c.DeadBefore(s.signer.Name()) })
	for _, g := range s.depot.State().Generations() {
		if g.Number < min(before, s.version.Generation) {
			s.dead.numbers[g.Number] = true
		}
	}
	s.dead.recalled = true
}

// doubt asks the custodians of one old generation again, another one each hour: a device that was put back from a copy may
// have its key once more, and is to destroy it once more. One that does not answer says nothing. Requires mu.
func (s *Service) doubt(ctx context.Context) {
	s.recall()
	all := s.depot.State().Generations()
	if len(all) == 0 {
		return
	}
	g := &all[s.now().Unix()/3600%int64(len(all))]
	if !s.dead.numbers[g.Number] {
		return
	}
	for _, name := range members(g.Sets) {
		m := s.custody.members[name]
		if m == nil {
			continue
		}
		if status, err := m.Status(ctx, g.Number); err == nil && status.State == custodian.Live {
			s.log.Error("a custodian has a key again that it had destroyed; it is destroyed again, and somebody has a copy of that device", "custodian", name, "generation", g.Number)
			delete(s.dead.numbers, g.Number)
		}
	}
}

// deadBefore is the generation all before which are destroyed; 0 if none is. Requires mu.
func (s *Service) deadBefore() uint64 {
	s.recall()
	for _, g := range s.depot.State().Generations() {
		if g.Number >= s.version.Generation || !s.dead.numbers[g.Number] {
			if g.Number == 1 {
				return 0
			}
			return g.Number
		}
	}
	return 0
}

// destroyOne asks all custodians of a generation, also those that are not needed any more.
func (s *Service) destroyOne(ctx context.Context, g *keyroot.Generation) (out Generation, err error) {
	out = Generation{Number: g.Number, Sets: g.Sets}
	gone := map[string]bool{}
	irrecoverable := map[string]time.Time{}
	for _, name := range members(g.Sets) {
		m := s.custody.members[name]
		if m == nil {
			err = errors.Join(err, fmt.Errorf("custodian %s: no URL is given for it; see 'custodians' in stele.yaml", name))
			continue
		}
		status, failed := m.Status(ctx, g.Number)
		if failed == nil && status.State != custodian.Destroyed {
			status, failed = m.Destroy(ctx, g.Number)
		}
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("custodian %s: destroying generation %d: %w", name, g.Number, failed))
			continue
		}
		out.Statements = append(out.Statements, Statement{name, status.State, status.Class, status.Destroyed, status.Irrecoverable, status.Attestation})
		if gone[name] = status.State == custodian.Destroyed; gone[name] && !status.Irrecoverable.IsZero() {
			irrecoverable[name] = status.Irrecoverable
		}
		if step := s.step("destroyed at " + name); step != nil {
			return out, step
		}
	}
	out.Destroyed = keyroot.Blocking(g.Sets, func(name string) bool { return gone[name] })
	out.Dead, _ = keyroot.DeadFrom(g.Sets, irrecoverable)
	out.Class = classOf(g.Sets, out.Statements)
	return out, err
}

// members are all custodians of some sets, by name.
func members(sets [][]string) []string {
	all := slices.Concat(sets...)
	slices.Sort(all)
	return slices.Compact(all)
}

// classOf is the best class at which the custodians that have destroyed their keys block all sets.
func classOf(sets [][]string, said []Statement) custodian.Class {
	for _, class := range []custodian.Class{custodian.Immediate, custodian.Delayed, custodian.BestEffort} {
		blocking := keyroot.Blocking(sets, func(name string) bool {
			return slices.ContainsFunc(said, func(s Statement) bool {
				return s.Custodian == name && s.State == custodian.Destroyed && s.Class <= class
			})
		})
		if blocking {
			return class
		}
	}
	return custodian.Never
}

// destroyRest destroys what is left of old generations, and tells the control log where it was told that something was
// left. Requires mu.
func (s *Service) destroyRest(ctx context.Context) error {
	var open []control.LoggedErasure
	s.control.View(func(c *control.State) {
		for _, e := range c.Erasures {
			if slices.ContainsFunc(e.Open, func(word string) bool { return strings.HasPrefix(word, "custodian ") }) && !s.requests.reported[e.Entry] {
				open = append(open, e)
			}
		}
	})
	if len(open) == 0 {
		return s.destroy(ctx, nil)
	}
	for _, e := range open {
		out := &Erased{Before: Root{e.Before.N, e.Before.Hash, e.From}}
		if err := s.destroy(ctx, out); err != nil {
			return err
		}
		body := control.Destroyed{Erased: e.Entry, Custody: destructions(out.Generations), Watermark: out.Watermark}
		body.Archive, body.Open = out.archive()
		if err := s.say(ctx, e.Entry, control.TypeDestroyed, s.now(), body); err != nil {
			return err
		}
		s.requests.reported[e.Entry] = true
	}
	return nil
}
