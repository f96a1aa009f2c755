package logpipe

import (
	"fmt"
	"time"
)

// Stats are figures of a pipe since Open. Counts are of captured records; those that a caller was refused are in none.
type Stats struct {
	Captured uint64            // taken by Capture, those declared as lost included
	Sealed   uint64            // in frames
	Acked    uint64            // acknowledged by the destination: brokers, or the disk for file://
	Lost     map[string]uint64 // declared as lost, by reason
	Waits    uint64            // calls of Capture that found the pipe full

	Memory  int64 // bytes in use of Config.Memory
	Spooled int64 // bytes on the local disk that a broker has not acknowledged

	Streams    []StreamStats
	IntakeLeft int  // weeks until the intake keys of the credential run out; afterwards erasure horizons move
	Linked     bool // streams are linked to their predecessors, see Config.StateDir
}

// StreamStats tell where a stream is.
type StreamStats struct {
	ID        string // hex
	Partition uint32
	Next      uint64 // seq of the next leaf
}

// Stats returns the figures of this moment.
func (p *Pipe) Stats() Stats {
	st := Stats{Lost: map[string]uint64{}, Waits: p.waits.Load(), Memory: p.memory.inUse(),
		IntakeLeft: weeksLeft(p.set.writer, time.Now()), Linked: p.set.StateDir != ""}
	for i, s := range p.streams {
		for _, sh := range s.shards {
			st.Captured += sh.count()
		}
		st.Captured += s.dropped.Load()
		st.Sealed += s.sealed.Load()
		st.Acked += s.out.acked.Load()
		s.losses.sum(st.Lost)
		st.Spooled += p.carry[i].spooled()
		st.Streams = append(st.Streams, StreamStats{fmt.Sprintf("%x", s.id), s.sealer.at.Partition, s.next.Load()})
	}
	return st
}
