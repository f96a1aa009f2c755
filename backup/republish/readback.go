package republish

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/stelelog/stele/internal/kafka"
)

// maxStored bounds how many messages behind a position are looked at. A publication saves its position all the time, so
// that more are not its own.
const maxStored = 1 << 20

// digest tells messages apart.
type digest [16]byte

func digestOf(message []byte) digest {
	sum := sha256.Sum256(message)
	return digest(sum[:16])
}

// readBack finds the messages that an earlier run sent after it had last saved its position.
func (t *Topic) readBack(ctx context.Context, after *Position) error {
	if after.Topic != t.at.Topic {
		return fmt.Errorf("%s is another topic than it was: its ids were %s and are %s; begin anew", t.to, after.Topic, t.at.Topic)
	}
	t.stored = map[digest]int{}
	t.begun = Position{Topic: t.at.Topic, Next: maps.Clone(t.at.Next)}
	left := maxStored
	for p, end := range t.at.Next {
		from, ok := after.Next[p]
		if !ok {
			continue // a partition that was added; nothing was sent to it
		}
		t.begun.Next[p] = from
		if from > end {
			return fmt.Errorf("partition %d of %s ends at %d, and %d messages were acknowledged: messages were lost; begin anew", p, t.to, end, from)
		}
		if err := t.readPartition(ctx, p, from, end, &left); err != nil {
			return err
		}
	}
	return nil
}

func (t *Topic) readPartition(ctx context.Context, p int, from, end int64, left *int) error {
	for from < end {
		b, err := t.client.Fetch(ctx, p, from, 4<<20, time.Second)
		if errors.Is(err, kafka.ErrOutOfRange) && b.LogStart > from {
			from = b.LogStart // what the topic has removed nobody can compare
			continue
		}
		if err != nil {
			return err
		}
		for _, m := range b.Messages {
			if *left--; *left < 0 {
				return fmt.Errorf("others write to %s, so much that what was published before cannot be told apart; begin anew with a topic of its own", t.to)
			}
			t.stored[digestOf(m.Value)]++
		}
		from = b.Next
	}
	return nil
}

// known reports whether an earlier run had sent a message, each one once.
func (t *Topic) known(message []byte) bool {
	if len(t.stored) == 0 {
		return false
	}
	d := digestOf(message)
	n := t.stored[d]
	if n == 1 {
		delete(t.stored, d)
	} else if n > 1 {
		t.stored[d] = n - 1
	}
	return n > 0
}
