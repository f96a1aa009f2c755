package logpipe

import (
	"context"

	"github.com/stelelog/stele/internal/keyscope"
)

// Session is a conversation or run whose end can be told, so that the policy of the archive may erase what was kept of
// it. It is safe for concurrent use.
type Session struct {
	pipe                     *Pipe
	tenant, subject, session string
}

// Session names a session by the values that its records carry.
func (p *Pipe) Session(tenant, subject, session string) *Session {
	return &Session{p, tenant, subject, session}
}

// End tells that the session is over. It returns when the message is on stable storage, see [Pipe.Flush], behind all
// records that were captured before; if ctx ends first, it may or may not be told. Records that follow belong to the session no more: they are kept as any other.
func (s *Session) End(ctx context.Context) error {
	var pepper [32]byte
	copy(pepper[:], s.pipe.set.writer.Pepper)
	tags := keyscope.MakeTags(&pepper, []byte(s.tenant), []byte(s.subject), []byte(s.session))
	r := newRequest()
	r.end, r.name, r.gone = &tags, s, ctx.Done()
	st := s.pipe.shardOf(&Record{Tenant: s.tenant, Subject: s.subject, Session: s.session}, 0)
	if err := s.pipe.ask(ctx, st.stream, r); err != nil {
		return &OpError{"end session", "", err}
	}
	return nil
}
