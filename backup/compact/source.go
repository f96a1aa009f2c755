package compact

import (
	"context"
	"time"
)

// message is one message of a transport.
type message struct {
	Pos  int64
	Time time.Time // when the transport took it, never the writer's clock
	Data []byte    // valid until the next read of the same lane
	Err  error     // the transport could not decode it; Data is what there is
	Void bool      // no message: positions up to and including Pos hold none
}

// position is how far a lane has been read, as the transport sees it.
type position struct {
	First   int64 // first position that is still there
	End     int64 // after the last message
	Damaged bool  // the lane is damaged at End: how far it goes cannot be told
}

// source is a transport of one partition: a Kafka partition, or the lanes of a spool that belong to the partition.
// Not safe for concurrent use.
type source interface {
	// identity names the cluster and the topic; a change means another history.
	identity() (cluster, topic string)
	// lanes lists the lanes there are now.
	lanes(ctx context.Context) ([]string, error)
	// position says what a lane holds.
	position(ctx context.Context, lane string) (position, error)
	// read returns messages from a position on, or none after wait. It fails with fs.ErrNotExist if the
	// position is no longer there.
	read(ctx context.Context, lane string, from int64, wait time.Duration) ([]message, error)
	// grantsEnd is the end of the grants transport now.
	grantsEnd(ctx context.Context) (map[string]int64, error)
	// damaged tells of which lanes no more can be read until somebody has mended them, and why. The others go on.
	damaged() map[string]error
	// committed says that messages below next are in the archive, read back: the transport may forget them.
	committed(ctx context.Context, next map[string]int64)
}
