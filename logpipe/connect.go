package logpipe

import (
	"context"
	"errors"
	"time"

	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/sealhook"
	"github.com/stelelog/stele/internal/spool"
)

// open opens the spool and the brokers, as far as the destination has them.
func (p *Pipe) open(ctx context.Context) (err error) {
	path := p.set.filedir
	if path == "" {
		path = p.set.SpoolDir
	}
	if path != "" {
		opts := p.set.spoolOptions()
		if end, bounded := ctx.Deadline(); bounded {
			opts.Wait = max(time.Until(end), time.Nanosecond)
		}
		if p.spool, err = spool.Open(path, opts); err != nil {
			return &OpError{"open", "spool directory", err}
		}
	}
	if p.set.filedir != "" {
		return nil
	}
	if p.brokers, err = openBrokers(p.set); err != nil {
		return &OpError{"open", "destination", err}
	}
	outage, err := p.brokers.reachable(ctx)
	if err != nil {
		return &OpError{"open", "destination", err}
	}
	if outage != nil {
		p.set.Logger.Warn("the brokers do not answer; the pipe starts without them", "error", outage)
	}
	return nil
}

// spoolOptions bounds the spool. Only whole files can be deleted, so they are small beside the bound.
func (s *settings) spoolOptions() spool.Options {
	const most, least = 16 << 20, 256 << 10
	opts := spool.Options{Archive: s.writer.Archive, Own: s.filedir != ""}
	if s.SpoolBytes >= 0 {
		opts.MaxBytes, opts.FileBytes = s.SpoolBytes, max(least, min(most, s.SpoolBytes/16))
	}
	return opts
}

// connect makes the streams, each with its first frame and its transport.
func (p *Pipe) connect(aead sealhook.AEAD, make func(*Pipe, *stream) (transport, error)) error {
	for range p.set.Streams {
		s, err := newStream(p.set, p.memory, p.perStream, aead)
		if err != nil {
			return err
		}
		p.streams = append(p.streams, s)
		p.shards = append(p.shards, s.shards...)
		was, err := p.recovered(s)
		if err != nil {
			return &OpError{"open", "spool directory", err}
		}
		if err := s.open(was); err != nil {
			return &OpError{"open", "stream", err}
		}
		t, err := make(p, s)
		if err != nil {
			return &OpError{"open", "spool directory", err}
		}
		p.carry = append(p.carry, t)
	}
	return nil
}

// recovered says how far the predecessor of a stream got if it did not close, else nil.
func (p *Pipe) recovered(s *stream) (*record.RecoveredDetail, error) {
	if s.slot == nil || !s.slot.have || s.slot.last.closed {
		return nil, nil
	}
	last := &s.slot.last
	if p.spool == nil {
		return &record.RecoveredDetail{Stream: last.stream, Seq: last.seq, Head: last.head}, nil
	}
	d, err := recoverLanes(p.spool, last, p.set.filedir != "")
	if errors.Is(err, spool.ErrDamaged) {
		// What it held is for the archive to miss; the service has to start.
		p.set.Logger.Error("a lane of the stream before is damaged; its end is taken from the state directory", "error", err)
		return &record.RecoveredDetail{Stream: last.stream, Seq: last.seq, Head: last.head}, nil
	}
	return d, err
}

// newTransport makes the transport of a stream. That of the first adopts what dead pipes left in the spool.
func (p *Pipe) newTransport(s *stream) (transport, error) {
	if p.set.filedir != "" {
		return newFileTransport(s, p.spool)
	}
	var left []*drain
	if p.spool != nil && len(p.carry) == 0 {
		var err error
		if left, err = adopt(p.spool, p.set.writer.Archive, p.brokers); err != nil {
			p.set.Logger.Error("a lane in the spool is left as it is", "error", err)
		}
	}
	return newKafkaTransport(s, p.brokers, p.spool, left), nil
}
