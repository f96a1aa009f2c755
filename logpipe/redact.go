package logpipe

import (
	"fmt"
	"time"

	"github.com/stelelog/stele/internal/record"
)

// redactEntry lets the hook change an entry. If it fails, panics, or leaves what cannot be kept, the entry stays as it
// was but for its body, which is withheld.
func redactEntry(e *entry, hook func(*Record) error) {
	r := e.record()
	if err := runRedact(hook, &r); err != nil {
		e.flags |= record.Withheld
		e.body, e.parts = nil, e.parts[:0]
		return
	}
	r.ID, r.Kind, r.Time = ID(e.id), e.kind, time.Time{}
	st, parts := e.stamp, e.parts
	var changed entry
	changed.parts = parts[:0]
	raw := make([]byte, sizeOf(&r))
	encodeRecord(raw, &r, &st)
	changed.decode(raw)
	*e = changed
}

func runRedact(hook func(*Record) error, r *Record) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	if err := hook(r); err != nil {
		return err
	}
	return r.check(1 << 30)
}

// record makes a Record that shares nothing with the arena.
func (e *entry) record() Record {
	r := Record{
		ID: e.id, Kind: e.kind, Time: e.stamp.when(),
		Tenant: string(e.tenant), Subject: string(e.subject), Session: string(e.session), Class: string(e.class),
		CallerID: string(e.callerID), TraceID: string(e.trace), SpanID: string(e.span), ParentID: string(e.parent),
		Attributes: clone(e.attrs), ContentType: string(e.contentType), Body: clone(e.body),
	}
	for i := range e.parts {
		p := &e.parts[i]
		r.Parts = append(r.Parts, Part{Data: clone(p.data), URI: string(p.uri), SHA256: p.sum, Size: int64(p.size), MediaType: string(p.media)})
	}
	return r
}

// when is the time of the stamp with its zone.
func (s *stamp) when() time.Time {
	t := time.Unix(0, s.time).UTC()
	if s.zone != 0 {
		t = t.In(time.FixedZone("", (int(s.zone)-1440)*60))
	}
	return t
}
