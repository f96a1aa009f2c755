package keys

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/stelelog/stele/internal/keyring"
)

// Together lets several services fold the grants of one spool at a time, as they may those of a topic.
func Together(c Config) Config { c.together = true; return c }

// Stepped calls step between the steps of folding and erasing. Its error ends the service as a crash would.
func Stepped(c Config, step func(name string) error) Config { c.step = step; return c }

// AtMost bounds the scopes that one generation leaves out.
func AtMost(c Config, scopes int) Config { c.most = scopes; return c }

// At gives a service a clock of its own.
func At(c Config, now func() time.Time) Config { c.now = now; return c }

// Spoiled lets spoil change what an erasure takes, once it was "chosen", and what is "made" of it.
func Spoiled(c Config, spoil func(at string, what *keyring.Erasure)) Config {
	c.spoil = spoil
	return c
}

// CarryOutDue does what Run does about requests.
func (s *Service) CarryOutDue(ctx context.Context) error { return s.carryOutDue(ctx) }

// EraseDuePass does what Run does about policy.
func (s *Service) EraseDuePass(ctx context.Context) error { return s.eraseDue(ctx) }

// Free reports whether nothing keeps the service from answering.
func (s *Service) Free() bool {
	free := s.mu.TryLock()
	if free {
		s.mu.Unlock()
	}
	return free
}

// Generation is the number of the generation that lives.
func (s *Service) Generation() uint64 { return s.version.Generation }

// Ring is what the key store holds now.
func (s *Service) Ring() *keyring.Ring { return s.version.ring }

// Topic is a grants topic in memory, whose brokers may forget what they acknowledged.
type Topic struct {
	Start    int64 // of what is there
	Messages [][]byte
	ID       string // "t" if empty
}

// From has a service fold a topic.
func From(c Config, t *Topic) Config { c.grants = t; return c }

func (t *Topic) identity(context.Context) (cluster, topic string, err error) {
	return "c", cmp.Or(t.ID, "t"), nil
}

func (t *Topic) ends(context.Context) (map[string]int64, error) {
	return map[string]int64{"0": int64(len(t.Messages))}, nil
}

func (t *Topic) read(_ context.Context, _ string, from int64) (out []message, err error) {
	for i := max(from, t.Start); i < int64(len(t.Messages)) && len(out) < 2; i++ {
		out = append(out, message{Pos: i, Time: time.Now(), Data: t.Messages[i]})
	}
	return out, nil
}

func (t *Topic) trim(_ context.Context, next map[string]int64) error {
	if next["0"] > int64(len(t.Messages)) {
		return errors.New("offset out of range")
	}
	t.Start = max(t.Start, next["0"])
	return nil
}

func (t *Topic) take() (func() error, error) { return func() error { return nil }, nil }

func (t *Topic) run(ctx context.Context, _ func(error), work func(context.Context) error) error {
	return work(ctx)
}

func (t *Topic) close() {}

// RepeatEvery is after how long an entry that is not in the log is said again.
const RepeatEvery = repeatEvery
