package keys

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyring"
)

// States of a scope in an answer.
const (
	live    = "live"
	erased  = "erased"
	unknown = "unknown"
)

// Keys implements [Source]. It folds what the grants transport holds, in memory, before it answers. Where the transport
// cannot be read, the answer says so, and is made of what is in the key store. What was erased comes from the store.
func (s *Service) Keys(ctx context.Context, request []byte) (*Answer, error) {
	q, err := s.admit(ctx, request)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.sync(ctx); err != nil {
		return nil, err
	}
	unread, err := s.readForAnswer(ctx)
	if err != nil {
		return nil, err
	}
	answer := &Answer{Stele: keysFormat, Record: s.version.N, Folded: positions(s.pending.folded), Unread: unread}
	ring := s.version.ring.Cached(16 << 20)
	found, err := s.find(ctx, ring, q)
	if err != nil {
		return nil, err
	}
	if answer.Keys, err = s.states(ctx, ring, q, found); err != nil {
		return nil, err
	}
	s.log.Info("keys given out", "reader", q.Reader, "why", q.Why, "scopes", len(answer.Keys), "tags", len(q.Tags))
	return answer, nil
}

const (
	// unreadWait is how long an answer waits for the grants transport.
	unreadWait = 3 * time.Second
	// unreadPause is for how long answers do without the transport once it could not be read, so that a reader with many
	// requests does not wait for each.
	unreadPause = 10 * time.Second
)

// answers is what answering remembers between requests.
type answers struct {
	nonces map[string]time.Time // of requests that were answered
	lists  erasedScopes
	unread string    // why the transport could not be read
	until  time.Time // when that is tried again
}

func newAnswers() answers { return answers{nonces: map[string]time.Time{}} }

// readForAnswer folds the transport in memory, if it can be read; if not, it says why. Requires mu.
func (s *Service) readForAnswer(ctx context.Context) (unread string, err error) {
	if s.now().Before(s.answers.until) {
		return s.answers.unread, nil
	}
	wait, cancel := context.WithTimeout(ctx, unreadWait)
	defer cancel()
	err = s.readTail(wait)
	switch {
	case err == nil, errors.Is(err, errOther):
		s.answers.unread = ""
		return "", nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case !errors.Is(err, errUnread):
		return "", err
	}
	s.answers.unread, s.answers.until = err.Error(), s.now().Add(unreadPause)
	s.log.Warn("the grants transport cannot be read: keys are given out without those of the newest grants", "err", err)
	s.statsMu.Lock()
	defer s.statsMu.Unlock()
	s.stats.Unread++
	return s.answers.unread, nil
}

// find returns the live keys that a request asks for, from the tries and from what is pending. Requires mu.
func (s *Service) find(ctx context.Context, ring *keyring.Ring, q *Request) ([]keyring.Scope, error) {
	var out []keyring.Scope
	seen := map[[16]byte]bool{}
	add := func(all []keyring.Located) {
		for i := range all {
			if !seen[all[i].ID] {
				out = append(out, all[i].Scope)
			}
		}
		for i := range all { // an id may have keys of several streams, which come together
			seen[all[i].ID] = true
		}
	}
	located, err := ring.Find(ctx, ids(q.Scopes))
	if err != nil {
		return nil, err
	}
	add(located)
	for _, id := range slices.Compact(slices.Sorted(slices.Values(texts(q.Scopes)))) {
		for _, i := range s.pending.byID[[16]byte([]byte(id))] {
			out = append(out, s.pending.batch.Scopes[i])
		}
	}
	for _, t := range q.Tags {
		tag := keyring.ShortTag(t)
		if located, err = ring.Tagged(ctx, tag); err != nil {
			return nil, err
		}
		add(located)
		for i := range s.pending.batch.Scopes {
			if x := &s.pending.batch.Scopes[i]; x.Tags.Has(tag) {
				out = append(out, *x)
			}
		}
	}
	return out, nil
}

// states says of each scope whether there is a key, and gives it if a reader may have it. Requires mu.
func (s *Service) states(ctx context.Context, ring *keyring.Ring, q *Request, found []keyring.Scope) (out []Wrapped, err error) {
	denied, err := ring.Denied(ctx, found)
	if err != nil {
		return nil, err
	}
	asks, _, err := s.approved(ctx) // what cannot be opened is for whoever carries requests out to say
	if err != nil {
		return nil, err
	}
	asked, policy, now := selectorsOf(asks), s.control.Policy(), time.Now()
	there := map[[16]byte]bool{}
	for i := range found {
		x := &found[i]
		there[x.ID] = true
		w := Wrapped{Scope: x.ID, State: erased}
		if !denied[i] && !asked.denies(x, policy, now) {
			w = Wrapped{Scope: x.ID, State: live, Stream: x.Stream, Start: time.Unix(0, x.Start).UTC(), Class: x.Class, Encap: x.Encap, Wrapped: slices.Clone(x.Inner[:])}
		}
		out = append(out, w)
	}
	var missing [][16]byte
	for _, id := range q.Scopes {
		if !there[id] {
			there[id] = true
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return out, nil
	}
	gone, err := s.gone(ctx, ring, missing)
	for _, id := range missing {
		w := Wrapped{Scope: id, State: unknown}
		if gone[id] {
			w.State = erased
		}
		out = append(out, w)
	}
	return out, err
}

// gone reports which scopes had keys that were erased: the tries remember it for some weeks, lists for good. Requires mu.
func (s *Service) gone(ctx context.Context, ring *keyring.Ring, scopes [][16]byte) (map[[16]byte]bool, error) {
	gone, err := ring.Gone(ctx, scopes)
	if err != nil {
		return nil, err
	}
	var left [][16]byte
	for _, id := range scopes {
		if s.pending.buried[id] {
			gone[id] = true
		}
		if !gone[id] {
			left = append(left, id)
		}
	}
	if len(left) == 0 {
		return gone, nil
	}
	if err := s.answers.lists.read(ctx, s); err != nil {
		return nil, err
	}
	for _, id := range left {
		if _, ok := s.answers.lists.ids[id]; ok {
			gone[id] = true
		}
	}
	return gone, nil
}

// erasedScopes are the scopes of all lists of what was erased, for answers about what the tries forgot.
type erasedScopes struct {
	next int // of the depot's erasures
	ids  map[[16]byte]struct{}
}

// maxErased bounds the scopes that are held in memory; of older ones it is said that they are unknown.
const maxErased = 4 << 20

// read takes in the lists that came since. One that cannot be read is passed over: it is for verify to say.
func (e *erasedScopes) read(ctx context.Context, s *Service) error {
	all := s.depot.Erasures()
	if e.ids == nil {
		e.ids = map[[16]byte]struct{}{}
	}
	for ; e.next < len(all); e.next++ {
		list, err := s.depot.List(ctx, &all[e.next].Erased)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			s.log.Warn("list of what was erased", "record", all[e.next].N, "err", err)
			continue
		}
		if len(e.ids) > maxErased {
			clear(e.ids)
		}
		for _, run := range list.Removed {
			for _, path := range run {
				if id, _, ok := keyring.SpentScope(path); ok || keyring.IsScope(path) { // came too late, or was erased
					if !ok {
						id = [16]byte(path[3:19])
					}
					e.ids[id] = struct{}{}
				}
			}
		}
	}
	return nil
}

func ids(in []commit.Hex16) (out [][16]byte) {
	for _, id := range in {
		out = append(out, id)
	}
	return out
}

func texts(in []commit.Hex16) (out []string) {
	for _, id := range in {
		out = append(out, string(id[:]))
	}
	return out
}

// PayloadReaders returns the files under dir that can open payloads. A compactor must not have any.
func PayloadReaders(dir string) ([]string, error) { return identity.PayloadReaders(dir) }
