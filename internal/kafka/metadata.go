package kafka

import (
	"context"
	"fmt"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// metadata asks any broker for the topic, once. Its error is the topic's own
// error code if the broker reports one.
func (c *Client) metadata(ctx context.Context) (Topic, error) {
	body := appendMetadataRequest(nil, c.cfg.Topic)
	res, err := c.ask(ctx, protocol.Metadata, metadataVersion, true, body)
	if err != nil {
		return Topic{}, err
	}
	return decodeMetadata(res, c.cfg.Topic)
}

// appendMetadataRequest encodes MetadataRequest v10 for one topic by name.
func appendMetadataRequest(b []byte, topic string) []byte {
	b = append(b, 2)                   // one topic, compact
	b = append(b, make([]byte, 16)...) // no id: by name
	b = appendCompactString(b, topic)
	b = append(b, 0) // tags of the topic
	// allow_auto_topic_creation, include_cluster_authorized_operations,
	// include_topic_authorized_operations, tags
	return append(b, 0, 0, 0, 0)
}

// decodeMetadata reads MetadataResponse v10.
func decodeMetadata(body []byte, name string) (Topic, error) {
	r := reader{b: body}
	r.int32() // throttle
	for n := r.compactArray(); n > 0; n-- {
		r.int32()         // node
		r.compactString() // host
		r.int32()         // port
		r.compactString() // rack
		r.tags()
	}
	cluster := r.compactString()
	r.int32() // controller
	for n := r.compactArray(); n > 0; n-- {
		t, code := readTopic(&r)
		if r.err != nil || t.Name != name {
			continue
		}
		if code != 0 {
			return Topic{}, kafkago.Error(code)
		}
		t.Cluster = cluster
		return t, nil
	}
	if r.err != nil {
		return Topic{}, fmt.Errorf("metadata: %w", r.err)
	}
	return Topic{}, kafkago.UnknownTopicOrPartition
}

// readTopic reads one topic of a MetadataResponse v10.
func readTopic(r *reader) (t Topic, code int16) {
	code = r.int16()
	t.Name = r.compactString()
	copy(t.ID[:], r.take(len(t.ID)))
	r.int8() // is_internal
	n := r.compactArray()
	t.Leaders = make([]int, n)
	for i := range t.Leaders {
		t.Leaders[i] = -1
	}
	for range n {
		partitionCode := r.int16()
		index, leader := int(r.int32()), int(r.int32())
		r.int32() // leader epoch
		replicas := skipInt32s(r)
		skipInt32s(r) // in-sync replicas
		skipInt32s(r) // offline replicas
		r.tags()
		if r.err == nil && (index < 0 || index >= n) {
			r.err = errShort
		}
		if r.err != nil {
			return t, code
		}
		if partitionCode == 0 {
			t.Leaders[index] = leader
		}
		if t.Replicas == 0 || replicas < t.Replicas {
			t.Replicas = replicas
		}
	}
	r.int32() // authorized operations
	r.tags()
	return t, code
}

func skipInt32s(r *reader) int {
	n := r.compactArray()
	r.take(4 * n)
	return n
}
