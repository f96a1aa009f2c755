package keys

import (
	"crypto/ed25519"
	"crypto/hpke"
	"errors"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/internal/keyscope"
)

// intake opens grants with the intake keys of one version.
type intake struct {
	archive [16]byte
	keys    map[uint16]hpke.PrivateKey
	seeds   map[uint16][32]byte
	wraps   map[wrapID]*keyscope.IntakeWrap
}

// wrapID names an opened intake wrap.
type wrapID struct {
	stream [16]byte
	enc    [16]byte
}

// maxWraps bounds the opened wraps that are kept: one for each stream and day.
const maxWraps = 10_000

// newIntake takes the intake keys of a version. Those that old has already are not expanded again.
func newIntake(archive [16]byte, keys []keyring.IntakeKey, old *intake) (*intake, error) {
	in := &intake{archive: archive, keys: map[uint16]hpke.PrivateKey{}, seeds: map[uint16][32]byte{}, wraps: map[wrapID]*keyscope.IntakeWrap{}}
	for i := range keys {
		week := keys[i].Week
		in.seeds[week] = keys[i].Seed
		if old != nil && old.keys[week] != nil && old.seeds[week] == keys[i].Seed {
			in.keys[week] = old.keys[week]
			continue
		}
		key, err := keyscope.KEM().NewPrivateKey(keys[i].Seed[:])
		if err != nil {
			return nil, err
		}
		in.keys[week] = key
	}
	return in, nil
}

// errDead says that the intake key of a week is not there any more.
var errDead = errors.New("dead on arrival: its intake key is gone")

// wrap opens the intake wrap of a message, or finds the one that was opened for the message before.
func (in *intake) wrap(g *keyscope.Grants) (*keyscope.IntakeWrap, error) {
	key := in.keys[g.Week]
	if key == nil {
		return nil, errDead
	}
	id := wrapID{g.Cert.Stream, keyscope.EncapsulationID(&g.Intake)}
	if w := in.wraps[id]; w != nil {
		return w, nil
	}
	w, err := keyscope.OpenIntakeWrap(key, in.archive, g.Cert.Stream, g.Week, &g.Intake)
	if err != nil {
		return nil, err
	}
	if len(in.wraps) >= maxWraps {
		clear(in.wraps)
	}
	in.wraps[id] = w
	return w, nil
}

// service is the name of the writer whose key opened a stream. A writer that was revoked goes on with the streams that
// it had opened, so its name is enough.
func (s *Service) service(c *keyscope.Cert) (name string, err error) {
	if c.Archive != s.trust.Archive {
		return "", errors.New("it is for another archive")
	}
	s.control.View(func(state *control.State) {
		name, err = state.Service(ed25519.PublicKey(c.ServiceKey[:]), state.Size())
	})
	if name != "" {
		return name, nil
	}
	return "", err
}

// ended is a session end of a service.
type ended struct {
	service string
	tag     keyring.Tag
	time    int64
}

// open opens a message of the grants transport: the scopes in it, or a session end. What is wrong with it is counted and
// logged: a scope whose grant was not taken shows as unreadable.
func (s *Service) open(p *pending, lane string, m *message, fold *keyroot.Fold) (scopes []keyring.Scope, end *ended) {
	var week uint16
	refuse := func(err error, n int) {
		count := &fold.Refused
		if errors.Is(err, errDead) {
			count = &fold.Dead
			fold.Weeks = withWeek(fold.Weeks, week)
		}
		*count += uint64(n)
		if archive, yes := s.guard.foreign(m.Data); yes {
			s.stranger(archive, lane, m)
			return
		}
		s.log.Warn("grants refused", "lane", lane, "position", m.Pos, "grants", n, "err", err)
	}
	if m.Err != nil {
		refuse(m.Err, 1)
		return nil, nil
	}
	if strings.HasPrefix(string(m.Data), "STLE") {
		e, err := keyscope.ParseSessionEnd(m.Data)
		var name string
		if err == nil {
			name, err = s.service(e.Cert)
		}
		if err != nil {
			refuse(err, 1)
			return nil, nil
		}
		return nil, &ended{name, keyring.ShortTag(e.Tags.Session), e.Time}
	}
	g, err := keyscope.ParseGrants(m.Data)
	if err != nil {
		refuse(err, 1)
		return nil, nil
	}
	week = g.Week
	name, err := s.service(g.Cert)
	var wrap *keyscope.IntakeWrap
	if err == nil {
		wrap, err = p.intake.wrap(g)
	}
	if err != nil {
		refuse(err, len(g.Grants))
		return nil, nil
	}
	for i := range g.Grants {
		b := g.Binding(i)
		inner, tags, err := wrap.Unwrap(&g.Grants[i].Outer, &b)
		if err == nil && keyring.Stale(g.Week, b.Start) {
			err = errors.New("it started before the week of its intake key")
		}
		if err != nil {
			refuse(err, 1)
			continue
		}
		x := keyring.Scope{ID: b.Scope, Week: g.Week, Stream: b.Stream, Encap: g.Grants[i].Encapsulation, Start: b.Start, Class: b.Class,
			Inner: inner, Tags: keyring.ShortTags(&tags)}
		x.Place(m.Time, uint16(p.policy.Class(b.Class).TTL))
		if p.policy.Ends(b.Class) {
			s.policy.granted.note(name, &x)
		}
		scopes = append(scopes, x)
	}
	return scopes, nil
}

// withWeek adds the week of a grant that is dead, as long as a record has room for it.
func withWeek(weeks []uint16, week uint16) []uint16 {
	i, found := slices.BinarySearch(weeks, week)
	if found || len(weeks) >= keyroot.MaxWeeks {
		return weeks
	}
	return slices.Insert(slices.Clone(weeks), i, week)
}

// granted remembers which service granted which keys that end with a session, since the process began. Streams, scopes and
// encapsulations are public, so that anybody can name them: a key is known to who made it alone, and with it its check.
type granted struct {
	seed maphash.Seed
	keys map[uint64]struct{}
}

// maxGranted bounds them: about 20 MB. Of what is forgotten the path day takes its place.
const maxGranted = 1 << 19

// grantedBy is what is hashed.
type grantedBy struct {
	service string
	key     scopeKey
}

func (g *granted) note(service string, x *keyring.Scope) {
	if g.keys == nil || len(g.keys) >= maxGranted {
		g.seed, g.keys = maphash.MakeSeed(), map[uint64]struct{}{}
	}
	g.keys[maphash.Comparable(g.seed, grantedBy{service, scopeKey{x.ID, x.Check()}})] = struct{}{}
}

// by reports whether a service is known to have granted a key.
func (g *granted) by(service string, x *keyring.Scope) bool {
	if g.keys == nil {
		return false
	}
	_, ok := g.keys[maphash.Comparable(g.seed, grantedBy{service, scopeKey{x.ID, x.Check()}})]
	return ok
}
