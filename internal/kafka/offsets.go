package kafka

import (
	"context"
	"encoding/binary"
	"fmt"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// Offsets returns the first offset of a partition that still exists and the
// offset after the last message that consumers may see (its high watermark).
func (c *Client) Offsets(ctx context.Context, partition int) (start, end int64, err error) {
	op := operation{name: "offsets", partition: partition, offset: -1, patience: c.cfg.Timeout}
	err = c.retry(ctx, op, func(ctx context.Context) error {
		res, err := c.listOffsets(ctx, kafkago.FirstOffsetOf(partition), kafkago.LastOffsetOf(partition))
		if err != nil {
			return err
		}
		p := res[partition]
		start, end = p.FirstOffset, p.LastOffset
		return nil
	})
	return start, end, err
}

// EndOffsets returns the high watermark of every partition, by partition.
func (c *Client) EndOffsets(ctx context.Context) ([]int64, error) {
	var ends []int64
	err := c.retry(ctx, c.topicOp("end offsets"), func(ctx context.Context) error {
		topic, err := c.metadata(ctx)
		if err != nil {
			return err
		}
		ends = make([]int64, topic.Partitions())
		requests := make([]kafkago.OffsetRequest, len(ends))
		for p := range requests {
			requests[p] = kafkago.LastOffsetOf(p)
		}
		res, err := c.listOffsets(ctx, requests...)
		if err != nil {
			return err
		}
		for p := range ends {
			ends[p] = res[p].LastOffset
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ends, nil
}

// listOffsets returns answers by partition; each one asked for is there and
// free of errors.
func (c *Client) listOffsets(ctx context.Context, requests ...kafkago.OffsetRequest) (map[int]kafkago.PartitionOffsets, error) {
	topic := c.cfg.Topic
	res, err := c.api.ListOffsets(ctx, &kafkago.ListOffsetsRequest{
		Topics: map[string][]kafkago.OffsetRequest{topic: requests},
	})
	if err != nil {
		return nil, err
	}
	answers := make(map[int]kafkago.PartitionOffsets, len(requests))
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			return nil, p.Error
		}
		answers[p.Partition] = p
	}
	for _, r := range requests {
		if _, ok := answers[r.Partition]; !ok {
			return nil, errShort
		}
	}
	return answers, nil
}

// DeleteRecords moves the log start of a partition up to before, so that no
// consumer can read an earlier offset again, and returns the new log start.
// Brokers remove the bytes when the segment file that holds them is deleted.
// An offset past the high watermark is ErrOutOfRange.
func (c *Client) DeleteRecords(ctx context.Context, partition int, before int64) (start int64, err error) {
	op := operation{name: "delete records", partition: partition, offset: before, patience: c.cfg.Timeout}
	body := appendDeleteRecordsRequest(nil, c.cfg.Topic, partition, before, int(c.cfg.Timeout.Milliseconds()/2))
	err = c.retry(ctx, op, func(ctx context.Context) error {
		res, err := c.askLeader(ctx, protocol.DeleteRecords, deleteRecordsVersion, partition, body, 0, 0)
		if err != nil {
			return err
		}
		start, err = decodeDeleteRecords(res, c.cfg.Topic, partition)
		return err
	})
	return start, err
}

// appendDeleteRecordsRequest encodes DeleteRecordsRequest v1 for one partition.
func appendDeleteRecordsRequest(b []byte, topic string, partition int, before int64, timeoutMs int) []byte {
	be := binary.BigEndian
	b = be.AppendUint32(b, 1) // topics
	b = appendString(b, topic)
	b = be.AppendUint32(b, 1) // partitions
	b = be.AppendUint32(b, uint32(partition))
	b = be.AppendUint64(b, uint64(before))
	return be.AppendUint32(b, uint32(timeoutMs))
}

// decodeDeleteRecords reads DeleteRecordsResponse v1 for one partition.
func decodeDeleteRecords(body []byte, topic string, partition int) (int64, error) {
	r := reader{b: body}
	r.int32() // throttle
	if r.array() != 1 || r.string() != topic || r.array() != 1 || int(r.int32()) != partition {
		return -1, errShort
	}
	start, code := r.int64(), r.int16()
	if r.err != nil {
		return -1, fmt.Errorf("delete records: %w", r.err)
	}
	if code != 0 {
		return -1, kafkago.Error(code)
	}
	return start, nil
}

// groupGen identifies this process in the current generation of a group.
type groupGen struct {
	generation int
	member     string
}

// Hint stores offsets (the next to be read, by partition) under group, for
// tools that show lag. Nothing here ever reads them back: the archive's own
// commits say where reading goes on. Callers may ignore the error.
func (c *Client) Hint(ctx context.Context, group string, next map[int]int64) error {
	op := c.topicOp("hint")
	commits := make([]kafkago.OffsetCommit, 0, len(next))
	for partition, offset := range next {
		commits = append(commits, kafkago.OffsetCommit{Partition: partition, Offset: offset})
	}
	c.mu.Lock()
	gen, member := c.members[group]
	c.mu.Unlock()
	if !member {
		gen.generation = -1 // allowed while the group has no members
	}
	res, err := c.api.OffsetCommit(ctx, &kafkago.OffsetCommitRequest{
		GroupID:      group,
		GenerationID: gen.generation,
		MemberID:     gen.member,
		Topics:       map[string][]kafkago.OffsetCommit{c.cfg.Topic: commits},
	})
	if err != nil {
		return c.fail(op, err, judge(err))
	}
	for _, p := range res.Topics[c.cfg.Topic] {
		if p.Error != nil {
			op.partition = p.Partition
			return c.fail(op, p.Error, judge(p.Error))
		}
	}
	return nil
}
