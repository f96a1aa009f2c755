package backup

import (
	"context"
	"crypto/hpke"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/counts"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/seal"
	"github.com/stelelog/stele/internal/segment"
)

// Reader opens payloads. It holds a reader's identity and asks a key service for wrapped keys. Not safe for concurrent use.
type Reader struct {
	a      *Archive
	id     *identity.Reader
	key    hpke.PrivateKey
	signer note.Signer
	keys   keys.Source
	codec  *seal.Codec

	years  map[uint16]hpke.PrivateKey // read keys, opened with the reader's key
	wraps  map[commit.Hex16]*keyscope.ReadWrap
	encaps map[commit.Hex16][]encapPlace // where an encapsulation is repeated

	repeated map[commit.Hex16]segment.Encap // those that were read
	scopes   map[commit.Hex16]*openScope
	bodies   literals

	lookups map[commit.Hex32]*lookup // by hash of the commit
}

type encapPlace struct {
	log    *openLog
	commit uint64
}

// openScope is a scope whose key is known, or known to be gone.
type openScope struct {
	scope  *seal.Scope // nil if the key cannot be had
	state  string      // of the key service
	err    error
	stream [16]byte // set with scope, as class
	class  string
	also   []*openScope // what others have granted under its id
	all    bool         // it was asked for by its id, so that this is all

	retained time.Time // until when minimum retention keeps it, where it came too late for an erasure
}

// of is the key of a stream. Who granted another one under the id of a scope, which is public, takes nobody's place.
func (o *openScope) of(stream [16]byte) *openScope {
	if o == nil || o.stream == stream {
		return o
	}
	for _, x := range o.also {
		if x.stream == stream {
			return x
		}
	}
	for _, x := range o.also {
		if x.state == stateErased { // of whom, nobody says any more
			return x
		}
	}
	return o
}

// in reports whether a key is there of one of some streams.
func (o *openScope) in(streams map[commit.Hex16]bool) bool {
	return streams[o.stream] || slices.ContainsFunc(o.also, func(x *openScope) bool { return x.scope != nil && streams[x.stream] })
}

const stateErased = "erased"

// Unlock returns a reader: identity is the content of a reader's role file, keys answers for wrapped keys.
func (a *Archive) Unlock(readerIdentity []byte, keys keys.Source) (*Reader, error) {
	r := &Reader{a: a, keys: keys, codec: seal.NewCodec(seal.Options{}), years: map[uint16]hpke.PrivateKey{},
		wraps: map[commit.Hex16]*keyscope.ReadWrap{}, encaps: map[commit.Hex16][]encapPlace{}, scopes: map[commit.Hex16]*openScope{},
		lookups: map[commit.Hex32]*lookup{}, repeated: map[commit.Hex16]segment.Encap{}}
	var err error
	if r.id, r.signer, err = a.trust.Reader(readerIdentity); err != nil {
		return nil, err
	}
	if a.unfounded != nil {
		return nil, a.unfounded
	}
	if r.key, err = keyscope.KEM().NewPrivateKey(r.id.Key); err != nil {
		return nil, fmt.Errorf("reader identity: %w", err)
	}
	if err := r.openReadKeys(); err != nil {
		return nil, err
	}
	for _, l := range a.logs {
		for _, tip := range l.chain.Tips {
			for _, e := range tip.Encaps {
				r.encaps[e.ID] = append(r.encaps[e.ID], encapPlace{l, e.Commit})
			}
		}
		for _, c := range l.commits {
			for _, tip := range c.Streams {
				for _, e := range tip.Encaps {
					r.encaps[e.ID] = append(r.encaps[e.ID], encapPlace{l, e.Commit})
				}
			}
		}
	}
	return r, nil
}

// openReadKeys opens the read keys that are wrapped to this reader.
func (r *Reader) openReadKeys() error {
	var keys []control.ReadKey
	r.a.control.View(func(s *control.State) { keys = slices.Clone(s.ReadKeys) })
	for _, k := range keys {
		for _, w := range k.Wraps {
			if w.Reader != r.id.By {
				continue
			}
			seed, err := w.Open(r.key, r.id.Archive, k.Year)
			if err != nil {
				return fmt.Errorf("read key of %d: %w", k.Year, err)
			}
			if r.years[k.Year], err = keyscope.KEM().NewPrivateKey(seed[:]); err != nil {
				return err
			}
		}
	}
	if len(r.years) == 0 {
		return fmt.Errorf("no read key of this archive is wrapped to %s", r.id.By)
	}
	return nil
}

// Acknowledge takes note of what a stream lost: it stays visible and no longer fails. The entry is in force once a
// compactor has put it into the control log.
func (r *Reader) Acknowledge(ctx context.Context, stream, reason string) error {
	id, err := hex.DecodeString(stream)
	if err != nil || len(id) != 16 {
		return fmt.Errorf("%q is no stream id (32 hex digits; 'stele audit' lists them)", stream)
	}
	for _, l := range r.a.tips() {
		tip, ok := l.tips[commit.Hex16(id)]
		if !ok {
			continue
		}
		upTo := uint64(0)
		if tip.Next > 0 {
			upTo = tip.Next - 1
		}
		return r.submit(ctx, control.TypeAck, control.Ack{Stream: tip.ID, UpTo: upTo, Reason: reason})
	}
	return fmt.Errorf("the archive has no stream %s; 'stele audit' lists them", stream)
}

// AcknowledgeHour takes note of what an hour of a service lacks by a count from outside, up to so many records or calls. The
// entry is in force once a compactor has put it into the control log.
func (r *Reader) AcknowledgeHour(ctx context.Context, k counts.Acknowledged) error {
	return r.submit(ctx, control.TypeAck, control.Ack{Service: k.Service, Hour: counts.Hour(k.Hour), What: k.What, Missing: k.Missing, Reason: k.Reason})
}

// Disclosed says in the control log that payloads leave the archive, without naming them: salted is a salted hash of what
// was selected. Records is 0 in the entry from before the first one leaves. When it returns, the entry is durable in the
// inbox, from which a compactor takes it.
func (r *Reader) Disclosed(ctx context.Context, what, to string, salted [32]byte, records uint64) error {
	return r.submit(ctx, control.TypeDisclosure, control.Disclosure{What: what, Salted: salted, Records: records, To: to})
}

// ReadsFrom reports whether frames of the archive came from the Kafka topic with these ids.
func (r *Reader) ReadsFrom(cluster, topic string) bool {
	for _, l := range r.a.logs {
		for _, c := range l.commits {
			if c.Source.Cluster == cluster && c.Source.Topic == topic {
				return true
			}
		}
	}
	return false
}

func (r *Reader) submit(ctx context.Context, kind string, body any) error {
	e, err := control.Sign(r.id.Archive, kind, time.Now(), body, r.signer)
	if err != nil {
		return err
	}
	return r.a.control.Drop(ctx, e)
}

// open makes sure that the keys of scopes are here, or known not to be had.
func (r *Reader) open(ctx context.Context, scopes [][16]byte) error {
	var ask []commit.Hex16
	for _, id := range scopes {
		if _, ok := r.scopes[id]; !ok {
			ask = append(ask, id)
		}
	}
	for len(ask) > 0 {
		n := min(len(ask), keys.MaxScopes)
		if _, err := r.request(ctx, ask[:n], nil); err != nil {
			return err
		}
		ask = ask[n:]
	}
	return nil
}

// request asks the key service and opens what it answers. It returns the scopes of the answer.
func (r *Reader) request(ctx context.Context, scopes, tags []commit.Hex16) ([]commit.Hex16, error) {
	q := keys.Request{Archive: commit.Hex16(r.id.Archive), Reader: r.signer.Name(), Time: time.Now().UTC(),
		Scopes: scopes, Tags: tags, Why: "read"}
	req, err := q.Sign(r.signer)
	if err != nil {
		return nil, err
	}
	answer, err := r.keys.Keys(ctx, req)
	if err != nil {
		return nil, err
	}
	var ids []commit.Hex16
	for i := range answer.Keys {
		k := &answer.Keys[i]
		ids = append(ids, k.Scope)
		first := r.scopes[k.Scope]
		if first != nil && first.of(k.Stream).stream == k.Stream {
			continue // of an answer before
		}
		s, err := r.unwrap(ctx, k)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		o := &openScope{scope: s, state: k.State, err: err, stream: k.Stream, class: k.Class}
		switch {
		case first == nil:
			r.scopes[k.Scope] = o
		case first.scope == nil && o.scope != nil:
			o.also, r.scopes[k.Scope] = append(first.also, first), o
		default:
			first.also = append(first.also, o)
		}
	}
	for _, id := range scopes {
		if o := r.scopes[id]; o != nil {
			o.all = true
		}
	}
	return ids, nil
}

// keyOf is the key of a leaf. A tag may have led to one that somebody else granted under its id: then it is asked for.
func (r *Reader) keyOf(ctx context.Context, leaf *record.Leaf) (*openScope, error) {
	o := r.scopes[leaf.Scope].of(leaf.Stream)
	if o == nil || o.scope == nil || o.stream == leaf.Stream || r.scopes[leaf.Scope].all {
		return o, nil
	}
	_, err := r.request(ctx, []commit.Hex16{leaf.Scope}, nil)
	return r.scopes[leaf.Scope].of(leaf.Stream), err
}

// unwrap opens the wrapped key of a scope.
func (r *Reader) unwrap(ctx context.Context, k *keys.Wrapped) (*seal.Scope, error) {
	if k.State != "live" {
		return nil, fmt.Errorf("its key is %s", k.State)
	}
	if len(k.Wrapped) != keyscope.InnerSize {
		return nil, errors.New("the wrapped key has a wrong length")
	}
	wrap, err := r.wrap(ctx, k)
	if err != nil {
		return nil, err
	}
	key, err := wrap.Unwrap((*[48]byte)(k.Wrapped), &keyscope.Binding{Archive: r.id.Archive, Stream: k.Stream, Scope: k.Scope,
		Start: k.Start.UnixNano(), Class: k.Class})
	if err != nil {
		return nil, err
	}
	return seal.NewScope(key)
}

// wrap finds and opens the encapsulation under which a key was wrapped.
func (r *Reader) wrap(ctx context.Context, k *keys.Wrapped) (*keyscope.ReadWrap, error) {
	if w := r.wraps[k.Encap]; w != nil {
		return w, nil
	}
	e, err := r.encap(ctx, k.Encap)
	if err != nil {
		return nil, err
	}
	key := r.years[e.Year]
	if key == nil {
		return nil, fmt.Errorf("no read key of %d for this reader", e.Year)
	}
	w, err := keyscope.OpenReadWrap(key, r.id.Archive, e.Stream, e.Day, (*[keyscope.EncapsulationSize]byte)(e.Enc))
	if err != nil {
		return nil, err
	}
	r.wraps[k.Encap] = w
	return w, nil
}

// encap finds an encapsulation. It keeps all that are repeated beside it: the next one that is wanted is often there.
func (r *Reader) encap(ctx context.Context, id commit.Hex16) (segment.Encap, error) {
	err := fmt.Errorf("encapsulation %s is in no segment", id)
	for _, at := range r.encaps[id] {
		if e, ok := r.repeated[id]; ok {
			return e, nil
		}
		c, missing := at.log.commitAt(at.commit)
		if missing != nil {
			continue
		}
		encaps, unread := datalog.Encaps(ctx, r.a.store, c.Commit)
		if unread != nil {
			err = unread
			continue
		}
		for _, e := range encaps {
			r.repeated[keyscope.EncapsulationID((*[keyscope.EncapsulationSize]byte)(e.Enc))] = e
		}
	}
	if e, ok := r.repeated[id]; ok {
		return e, nil
	}
	return segment.Encap{}, err
}
