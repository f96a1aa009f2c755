package compact

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"time"

	"github.com/stelelog/stele/internal/kafka"
)

// kafkaSource reads one partition of the frames topic.
type kafkaSource struct {
	frames, grants *kafka.Client
	topic          kafka.Topic
	partition      int
	group          string
	log            *slog.Logger
	buf            []message
}

func newKafkaSource(ctx context.Context, frames, grants *kafka.Client, partition int, group string, log *slog.Logger) (*kafkaSource, error) {
	topic, err := frames.Check(ctx)
	if err != nil {
		return nil, err
	}
	return &kafkaSource{frames: frames, grants: grants, topic: topic, partition: partition, group: group, log: log}, nil
}

func (s *kafkaSource) identity() (cluster, topic string) {
	return s.topic.Cluster, hex.EncodeToString(s.topic.ID[:])
}

func (s *kafkaSource) lanes(context.Context) ([]string, error) {
	return []string{strconv.Itoa(s.partition)}, nil
}

func (s *kafkaSource) position(ctx context.Context, lane string) (p position, err error) {
	p.First, p.End, err = s.frames.Offsets(ctx, s.partition)
	return p, err
}

func (s *kafkaSource) read(ctx context.Context, lane string, from int64, wait time.Duration) ([]message, error) {
	b, err := s.frames.Fetch(ctx, s.partition, from, 8<<20, wait)
	if errors.Is(err, kafka.ErrOutOfRange) && b.LogStart > from {
		return nil, fmt.Errorf("kafka: offset %d was removed, the log starts at %d: %w", from, b.LogStart, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	s.buf = s.buf[:0]
	for _, m := range b.Messages {
		s.buf = append(s.buf, message{Pos: m.Offset, Time: m.Time, Data: m.Value, Err: m.Err})
	}
	if len(s.buf) == 0 && b.Next > from { // markers of somebody's transactions
		s.buf = append(s.buf, message{Pos: b.Next - 1, Void: true})
	}
	return s.buf, nil
}

func (s *kafkaSource) grantsEnd(ctx context.Context) (map[string]int64, error) {
	ends, err := s.grants.EndOffsets(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for p, end := range ends {
		out[strconv.Itoa(p)] = end
	}
	return out, nil
}

// damaged is nothing: a batch that cannot be read is a message with an error.
func (s *kafkaSource) damaged() map[string]error { return nil }

func (s *kafkaSource) committed(ctx context.Context, next map[string]int64) {
	offsets := map[int]int64{}
	for lane, n := range next {
		if p, err := strconv.Atoi(lane); err == nil {
			offsets[p] = n
		}
	}
	if err := s.frames.Hint(ctx, s.group, offsets); err != nil {
		s.log.Debug("kafka: the offset hint was not taken", "err", err)
	}
}
