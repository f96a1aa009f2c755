package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// Topic is what the cluster says about the topic.
type Topic struct {
	Cluster  string   // the cluster's id
	ID       [16]byte // changes when a topic is deleted and created again
	Name     string
	Leaders  []int     // node id of the leader by partition, -1 if there is none
	Replicas int       // copies of the least replicated partition
	Settings *Settings // nil if the user may not read them (DescribeConfigs)
}

// Partitions is the number of partitions.
func (t Topic) Partitions() int { return len(t.Leaders) }

// Settings are the topic's effective settings that matter to a transport.
type Settings struct {
	CleanupPolicy   string        // cleanup.policy; must not contain "compact"
	Retention       time.Duration // retention.ms; -1: for ever
	RetentionBytes  int64         // retention.bytes of each partition; -1: unlimited
	MinInSync       int           // min.insync.replicas
	MaxMessageBytes int           // max.message.bytes: largest batch, see BatchSize
	AppendTime      bool          // message.timestamp.type=LogAppendTime
}

const (
	cfgCleanup     = "cleanup.policy"
	cfgRetention   = "retention.ms"
	cfgBytes       = "retention.bytes"
	cfgMinInSync   = "min.insync.replicas"
	cfgMaxMessage  = "max.message.bytes"
	cfgTimestamp   = "message.timestamp.type"
	typeAppendTime = "LogAppendTime"
	policyDelete   = "delete"
)

// Describe asks the cluster for the topic and its settings. A topic that does
// not exist is ErrNoTopic at once; outages are retried for Config.Timeout.
func (c *Client) Describe(ctx context.Context) (Topic, error) {
	var topic Topic
	op := c.topicOp("describe")
	err := c.retry(ctx, op, func(ctx context.Context) (err error) {
		if topic, err = c.existing(ctx, op); err != nil {
			return err
		}
		topic.Settings, err = c.settings(ctx)
		return err
	})
	return topic, err
}

// Present is Describe without the settings: one request, to see that the topic is the one that it was.
func (c *Client) Present(ctx context.Context) (topic Topic, err error) {
	op := c.topicOp("describe")
	err = c.retry(ctx, op, func(ctx context.Context) (err error) {
		topic, err = c.existing(ctx, op)
		return err
	})
	return topic, err
}

// existing is metadata with the difference that a missing topic is final.
func (c *Client) existing(ctx context.Context, op operation) (Topic, error) {
	topic, err := c.metadata(ctx)
	if errors.Is(err, kafkago.UnknownTopicOrPartition) {
		err = c.fail(op, err, judge(err))
	}
	return topic, err
}

// settings returns nil without an error if the user may not read them.
func (c *Client) settings(ctx context.Context) (*Settings, error) {
	values, err := c.configs(ctx, cfgCleanup, cfgRetention, cfgBytes, cfgMinInSync, cfgMaxMessage, cfgTimestamp)
	if errors.Is(err, kafkago.TopicAuthorizationFailed) || errors.Is(err, kafkago.ClusterAuthorizationFailed) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	number := func(name string) int64 { // -1 where the broker does not know the setting
		n, err := strconv.ParseInt(values[name], 10, 64)
		if err != nil {
			return -1
		}
		return n
	}
	return &Settings{
		CleanupPolicy:   values[cfgCleanup],
		Retention:       milliseconds(number(cfgRetention)),
		RetentionBytes:  number(cfgBytes),
		MinInSync:       int(number(cfgMinInSync)),
		MaxMessageBytes: int(number(cfgMaxMessage)),
		AppendTime:      values[cfgTimestamp] == typeAppendTime,
	}, nil
}

// milliseconds keeps -1 and saturates instead of overflowing.
func milliseconds(ms int64) time.Duration {
	const most = int64(1<<63-1) / int64(time.Millisecond)
	if ms < 0 {
		return -1
	}
	return time.Duration(min(ms, most)) * time.Millisecond
}

// configs reads the named settings of the topic.
func (c *Client) configs(ctx context.Context, names ...string) (map[string]string, error) {
	res, err := c.api.DescribeConfigs(ctx, &kafkago.DescribeConfigsRequest{
		Resources: []kafkago.DescribeConfigRequestResource{{
			ResourceType: kafkago.ResourceTypeTopic,
			ResourceName: c.cfg.Topic,
			ConfigNames:  names,
		}},
	})
	if err != nil {
		return nil, err
	}
	if len(res.Resources) != 1 {
		return nil, errShort
	}
	if err := res.Resources[0].Error; err != nil {
		return nil, err
	}
	values := make(map[string]string, len(names))
	for _, e := range res.Resources[0].ConfigEntries {
		values[e.ConfigName] = e.ConfigValue
	}
	return values, nil
}

// Check is for start-up: it verifies that the broker serves every request
// that the client sends, describes the topic, and refuses one that is
// compacted, because compaction deletes messages that share a key.
func (c *Client) Check(ctx context.Context) (Topic, error) {
	op := c.topicOp("check")
	if err := c.retry(ctx, op, c.checkVersions); err != nil {
		return Topic{}, err
	}
	topic, err := c.Describe(ctx)
	if err != nil {
		return Topic{}, err
	}
	s := topic.Settings
	if s == nil {
		c.log.Warn("kafka: cannot read the topic's settings", "hint", "grant DescribeConfigs on the topic")
		return topic, nil
	}
	if strings.Contains(s.CleanupPolicy, "compact") {
		return topic, c.fail(op, fmt.Errorf("%s=%s would delete records", cfgCleanup, s.CleanupPolicy),
			verdict{hint: "set cleanup.policy=delete, or use another topic"})
	}
	if !s.AppendTime {
		c.log.Warn("kafka: message times are the writers' own",
			"hint", "set message.timestamp.type=LogAppendTime on the topic")
	}
	return topic, nil
}

// need is a range of versions of one request, any of which will do.
type need struct {
	key      protocol.ApiKey
	min, max int16
}

// needs lists what is sent: by kafka-go over pooled connections, by its
// consumer group over a connection of its own, and by us.
func needs() []need {
	var list []need
	for _, key := range []protocol.ApiKey{
		protocol.Metadata, protocol.ListOffsets, protocol.FindCoordinator,
		protocol.OffsetCommit, protocol.CreateTopics, protocol.DescribeConfigs,
	} {
		list = append(list, need{key, key.MinVersion(), key.MaxVersion()})
	}
	return append(list,
		need{protocol.Produce, 3, protocol.Produce.MaxVersion()}, // 3: first with batches of format 2
		need{protocol.Metadata, metadataVersion, metadataVersion},
		need{protocol.Fetch, fetchVersion, fetchVersion},
		need{protocol.DeleteRecords, deleteRecordsVersion, deleteRecordsVersion},
		need{protocol.FindCoordinator, 0, 0},
		need{protocol.JoinGroup, 1, 2},
		need{protocol.SyncGroup, 0, 0},
		need{protocol.Heartbeat, 0, 0},
		need{protocol.LeaveGroup, 0, 0},
		need{protocol.OffsetFetch, 1, 1},
	)
}

// checkVersions compares needs with what the broker offers. kafka-go would
// send an unsupported version and meet a closed connection.
func (c *Client) checkVersions(ctx context.Context) error {
	res, err := c.api.ApiVersions(ctx, &kafkago.ApiVersionsRequest{})
	if err != nil {
		return err
	}
	if res.Error != nil {
		return res.Error
	}
	type span struct{ min, max int }
	offered := make(map[int]span, len(res.ApiKeys))
	for _, k := range res.ApiKeys {
		offered[k.ApiKey] = span{k.MinVersion, k.MaxVersion}
	}
	var missing []string
	for _, n := range needs() {
		o, ok := offered[int(n.key)]
		if !ok {
			missing = append(missing, fmt.Sprintf("%s (not offered)", n.key))
		} else if o.min > int(n.max) || o.max < int(n.min) {
			missing = append(missing, fmt.Sprintf("%s v%d-v%d (offered v%d-v%d)", n.key, n.min, n.max, o.min, o.max))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: %s", errIncompatible, strings.Join(missing, ", "))
	}
	return nil
}
