package kafka

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	kafkago "github.com/segmentio/kafka-go"
)

// TopicSpec is a topic to create. Zero counts leave the choice to the cluster.
type TopicSpec struct {
	Partitions  int
	Replication int
	Configs     map[string]string // topic settings, over the two that Create sets itself
}

// configs adds what a transport needs: nothing compacted, the broker's clock.
func (s TopicSpec) configs() map[string]string {
	all := map[string]string{cfgCleanup: policyDelete, cfgTimestamp: typeAppendTime}
	maps.Copy(all, s.Configs)
	return all
}

// Create creates the topic with cleanup.policy=delete and
// message.timestamp.type=LogAppendTime unless spec.Configs says otherwise. A
// topic that already exists as specified is success; one that differs is left
// alone and reported as an *Error that wraps fs.ErrExist and names every
// difference. When it returns nil, every partition has a leader.
func (c *Client) Create(ctx context.Context, spec TopicSpec) error {
	op := c.topicOp("create topic")
	err := c.retry(ctx, op, func(ctx context.Context) error { return c.createOnce(ctx, spec) })
	if errors.Is(err, kafkago.TopicAlreadyExists) {
		return c.compare(ctx, op, spec)
	}
	if err != nil {
		return err
	}
	return c.retry(ctx, op, c.hasLeaders) // creation is asynchronous
}

func (c *Client) hasLeaders(ctx context.Context) error {
	topic, err := c.metadata(ctx)
	if err == nil && (topic.Partitions() == 0 || slices.Min(topic.Leaders) < 0) {
		err = kafkago.LeaderNotAvailable
	}
	return err
}

func (c *Client) createOnce(ctx context.Context, spec TopicSpec) error {
	ctx, cancel := c.attempt(ctx, 0) // also bounds the wait for new metadata
	defer cancel()
	topic := kafkago.TopicConfig{
		Topic:             c.cfg.Topic,
		NumPartitions:     orUnset(spec.Partitions),
		ReplicationFactor: orUnset(spec.Replication),
	}
	configs := spec.configs()
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		topic.ConfigEntries = append(topic.ConfigEntries,
			kafkago.ConfigEntry{ConfigName: name, ConfigValue: configs[name]})
	}
	res, err := c.api.CreateTopics(ctx, &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{topic}})
	if err != nil {
		return err
	}
	return res.Errors[c.cfg.Topic]
}

func orUnset(n int) int {
	if n <= 0 {
		return -1
	}
	return n
}

// differs says in what a topic that exists is another one.
type differs []string

func (d differs) Error() string { return "the topic exists, with " + strings.Join(d, ", ") }
func (d differs) Unwrap() error { return fs.ErrExist }

// compare reports how the existing topic differs from spec.
func (c *Client) compare(ctx context.Context, op operation, spec TopicSpec) error {
	topic, err := c.Describe(ctx)
	if err != nil {
		return err
	}
	var diff []string
	if spec.Partitions > 0 && topic.Partitions() != spec.Partitions {
		diff = append(diff, fmt.Sprintf("%d partitions instead of %d", topic.Partitions(), spec.Partitions))
	}
	if spec.Replication > 0 && topic.Replicas != spec.Replication {
		diff = append(diff, fmt.Sprintf("%d replicas instead of %d", topic.Replicas, spec.Replication))
	}
	wanted := spec.configs()
	names := slices.Sorted(maps.Keys(wanted))
	var found map[string]string
	err = c.retry(ctx, op, func(ctx context.Context) (err error) {
		found, err = c.configs(ctx, names...)
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		if found[name] != wanted[name] {
			diff = append(diff, fmt.Sprintf("%s=%s instead of %s", name, found[name], wanted[name]))
		}
	}
	if len(diff) == 0 {
		return nil
	}
	return c.fail(op, differs(diff),
		verdict{hint: "use another topic, or change this one with Kafka's own tools; partitions can never be reduced"})
}
