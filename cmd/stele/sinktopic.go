package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/republish"
)

// topicSink publishes to a Kafka topic.
type topicSink struct{ topic *republish.Topic }

// openTopicSink looks at the topic, and finds what an earlier run had published and not saved.
func (s *site) openTopicSink(ctx context.Context, r *backup.Reader, f restoreFlags, after *republish.Position) (sink, error) {
	selection, err := encode(f.filter)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, kafkaWait)
	defer cancel()
	topic, err := republish.Open(ctx, republish.Config{Reader: r, URL: f.out, Selection: selection,
		Username: s.KafkaUsername, Password: s.KafkaPassword, After: after})
	if err != nil {
		return nil, unreached(err, f.out)
	}
	return topicSink{topic}, nil
}

func (s topicSink) name() string { return s.topic.Name() }

func (s topicSink) write(ctx context.Context, f *backup.Found, line []byte) error {
	err := s.topic.Write(ctx, f.Partition, line)
	if err == nil {
		return nil
	}
	return notWritten(f, err)
}

// notWritten says which record the topic did not take, as far as that is known, and what to do.
func notWritten(f *backup.Found, err error) error {
	large := new(republish.TooLargeError)
	switch tooLarge := errors.As(err, &large); {
	case tooLarge && large.Limit == 0: // it refused what was collected: this record, or one before it
		return hinted(err, fmt.Sprintf("it is one of the last records up to %s, %s leaf %d; set max.message.bytes to %d or more and run the same command again: with --resume FILE it goes on "+
			"behind what was published. Or restore to a directory, which takes it", f.ID, f.Log, f.Index, large.Size))
	case tooLarge:
		return hinted(located(f, err), fmt.Sprintf("all before this record is published; set max.message.bytes to %d or more and run the same command again: with --resume FILE it goes on at this record. "+
			"Or restore to a directory, which takes it", large.Size))
	}
	return notPublished(located(f, err))
}

func located(f *backup.Found, err error) error {
	return fmt.Errorf("record %s, %s leaf %d: %w", f.ID, f.Log, f.Index, err)
}

func (s topicSink) flush(ctx context.Context, state *restoreState) error {
	if err := s.topic.Flush(ctx); err != nil {
		return notPublished(err)
	}
	at := s.topic.Position()
	state.Topic = &at
	return nil
}

func (s topicSink) close(ctx context.Context, answer *restoreAnswer) error {
	if salted, salt := s.topic.Disclosure(); salted != [32]byte{} {
		answer.Disclosure = &disclosure{hex.EncodeToString(salted[:]), hex.EncodeToString(salt[:])}
	}
	return s.topic.Close(ctx)
}

// notPublished says how to go on after brokers have failed for long.
func notPublished(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return hinted(err, "when the brokers are back, run the same command again; with --resume FILE it goes on where it stopped")
	}
	return err
}

// sinkWait bounds how long the end of an interrupted restore waits for brokers.
const sinkWait = 10 * time.Second
