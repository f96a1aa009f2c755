package logpipe

import (
	"container/list"
	"crypto/hpke"
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"time"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/seal"
)

const (
	scopeAge     = time.Hour
	anonymousAge = 5 * time.Minute // without subject and session
	maxScopes    = 2048            // open at a time in a stream
	maxPlaces    = 32 << 10        // parts that a stream remembers
)

// scope is an open scope: records of one tenant, subject, session and class, under one key.
type scope struct {
	name                     string // in the table
	id                       [16]byte
	class                    string
	tenant, subject, session []byte
	keys                     *seal.Scope
	until                    time.Time
	parts                    partTable
	wrap                     *dayWrap
	grant                    keyscope.Grant
	entry                    frame.ScopeEntry
	entered                  bool // its entry is in a frame

	draft uint64 // the frame in the making that has a block of it
	block int    // number there
	place *list.Element
}

// dayWrap is what the scope keys of a stream are wrapped with for a day.
type dayWrap struct {
	day     uint16
	year    uint16 // of the read key
	read    *keyscope.ReadWrap
	intake  *keyscope.IntakeWrap
	entered bool // the encapsulation is in a frame
}

// scopes are the open scopes of a stream, the one used last in front.
type scopes struct {
	writer *identity.Writer
	pepper [32]byte
	ttl    map[string]uint16 // days, by class
	at     seal.Place        // without scope and class
	wrap   *dayWrap
	log    *slog.Logger
	open   map[string]*scope
	order  *list.List
	room   int // for parts to remember
	name   []byte
}

func newScopes(w *identity.Writer, at seal.Place, log *slog.Logger) *scopes {
	s := &scopes{writer: w, at: at, log: log, ttl: map[string]uint16{}}
	copy(s.pepper[:], w.Pepper)
	for _, c := range w.Classes {
		s.ttl[c.Name] = c.TTLDays
	}
	s.reset()
	return s
}

// reset closes all scopes: what refers to frames that were not sent must not be used.
func (s *scopes) reset() {
	s.open, s.order, s.room, s.wrap = map[string]*scope{}, list.New(), maxPlaces, nil
}

// get returns the scope of an entry, opening one where there is none or it is too old.
func (s *scopes) get(e *entry, class string, now time.Time) (*scope, error) {
	s.name = s.name[:0]
	for _, v := range [...][]byte{e.tenant, e.subject, e.session, e.class} {
		s.name = append(binary.AppendUvarint(s.name, uint64(len(v))), v...)
	}
	if sc, ok := s.open[string(s.name)]; ok {
		if now.Before(sc.until) {
			s.order.MoveToFront(sc.place)
			return sc, nil
		}
		s.close(sc)
	}
	for s.order.Len() >= maxScopes || s.room == 0 && s.order.Len() > 0 {
		s.close(s.order.Back().Value.(*scope))
	}
	sc, err := s.make(e, class, now)
	if err != nil {
		return nil, err
	}
	sc.name = string(s.name)
	sc.parts.room = &s.room
	sc.place = s.order.PushFront(sc)
	s.open[sc.name] = sc
	return sc, nil
}

func (s *scopes) close(sc *scope) {
	sc.parts.forget()
	s.order.Remove(sc.place)
	delete(s.open, sc.name)
}

// make opens a scope: a fresh key, its grant and its entry.
func (s *scopes) make(e *entry, class string, now time.Time) (*scope, error) {
	if err := s.renewWrap(now); err != nil {
		return nil, err
	}
	var key [32]byte
	var random [14]byte
	rand.Read(key[:])
	rand.Read(random[:])
	keys, err := seal.NewScope(key)
	if err != nil {
		return nil, err
	}
	day := int(keyscope.Day(now)) + int(s.ttl[class])
	age := scopeAge
	if len(e.subject) == 0 && len(e.session) == 0 {
		age = anonymousAge
	}
	sc := &scope{id: keyscope.ScopeID(uint16(min(day, 0xffff)), random), class: class, keys: keys, until: now.Add(age), wrap: s.wrap,
		tenant: clone(e.tenant), subject: clone(e.subject), session: clone(e.session)}
	tags := keyscope.MakeTags(&s.pepper, sc.tenant, sc.subject, sc.session)
	// A clock from before the first week of the credential is wrong, and the key service refuses a grant that says so.
	start := max(now.UnixNano(), keyscope.WeekStart(s.wrap.intake.Week).UnixNano())
	b := keyscope.Binding{Archive: s.at.Archive, Stream: s.at.Stream, Scope: sc.id, Start: start, Class: class}
	grant, check, err := keyscope.MakeGrant(&key, &tags, &b, s.wrap.read, s.wrap.intake)
	if err != nil {
		return nil, err
	}
	names := keys.CommitScope(sc.tenant, sc.subject, sc.session)
	sc.grant = grant
	sc.entry = frame.ScopeEntry{ID: sc.id, Start: b.Start, Grant: grant.Hash(), KCV: check,
		Tenant: names[0], Subject: names[1], Session: names[2], Class: class}
	return sc, nil
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }

// renewWrap makes the wraps of the day.
func (s *scopes) renewWrap(now time.Time) error {
	day := keyscope.Day(now)
	if s.wrap != nil && s.wrap.day == day {
		return nil
	}
	year, readKey, err := currentReadKey(s.writer, now)
	if err != nil {
		return err
	}
	read, err := keyscope.NewReadWrap(readKey, s.at.Archive, s.at.Stream, day)
	if err != nil {
		return err
	}
	week, intakeKey, err := currentIntakeKey(s.writer, now)
	if err != nil {
		return err
	}
	intake, err := keyscope.NewIntakeWrap(intakeKey, s.at.Archive, s.at.Stream, week)
	if err != nil {
		return err
	}
	s.wrap = &dayWrap{day: day, year: year, read: read, intake: intake}
	s.warn(now)
	return nil
}

// fewWeeks is when a pipe begins to say that its credential should be renewed.
const fewWeeks = 8

// warn says once a day that the intake keys run out: capture goes on with the last one, and what comes two weeks after its
// week can be read by nobody.
func (s *scopes) warn(now time.Time) {
	switch left := weeksLeft(s.writer, now); {
	case left < 0:
		s.log.Error("the credential has no intake key of this week any more; two weeks after the last one, records can be read by nobody: renew it with 'stele key renew writer'", "weeks_over", -left)
	case left < fewWeeks:
		s.log.Warn("the intake keys of the credential run out: renew it with 'stele key renew writer'", "weeks_left", left)
	}
}

// currentReadKey is the read key of the year, else the newest one before it, else the first.
func currentReadKey(w *identity.Writer, now time.Time) (uint16, hpke.PublicKey, error) {
	best := w.Read[0]
	for _, k := range w.Read {
		if int(k.Year) <= now.UTC().Year() && (k.Year > best.Year || int(best.Year) > now.UTC().Year()) {
			best = k
		}
	}
	key, err := keyscope.KEM().NewPublicKey(best.Key)
	return best.Year, key, err
}

// currentIntakeKey is the intake key of the week; when the credential has none for it, the newest one before, so that
// running out of keys never stops capture.
func currentIntakeKey(w *identity.Writer, now time.Time) (uint16, hpke.PublicKey, error) {
	week, best := keyscope.Week(now), w.Intake[0]
	for _, k := range w.Intake {
		if k.Week <= week && (k.Week > best.Week || best.Week > week) {
			best = k
		}
	}
	key, err := keyscope.KEM().NewPublicKey(best.Key)
	return best.Week, key, err
}

// weeksLeft is the number of whole weeks until the intake keys of a credential run out.
func weeksLeft(w *identity.Writer, now time.Time) int {
	last := 0
	for _, k := range w.Intake {
		last = max(last, int(k.Week))
	}
	return last - int(keyscope.Week(now))
}

// endSession closes the scopes of a session: what comes later is no part of it.
func (s *scopes) endSession(n *Session) {
	for at := s.order.Front(); at != nil; {
		sc := at.Value.(*scope)
		at = at.Next()
		if string(sc.tenant) == n.tenant && string(sc.subject) == n.subject && string(sc.session) == n.session {
			s.close(sc)
		}
	}
}
