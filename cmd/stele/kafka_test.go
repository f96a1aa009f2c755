package main

import (
	"context"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (b *broker) client() *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(b.cluster.ListenAddrs()...), Timeout: 30 * time.Second}
}

// cmdTopic makes a topic with one partition: topic NAME
func cmdTopic(ts *testscript.TestScript, neg bool, args []string) {
	res, err := ts.Value(brokerKey{}).(*broker).client().CreateTopics(context.Background(), &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: args[0], NumPartitions: 1, ReplicationFactor: 1}}})
	ts.Check(err)
	ts.Check(res.Errors[args[0]])
}

// cmdTruncate sends a message to a topic with one partition, and removes it: truncate NAME
func cmdTruncate(ts *testscript.TestScript, neg bool, args []string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(ts.Getenv("KAFKA")))
	ts.Check(err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ts.Check(client.ProduceSync(ctx, &kgo.Record{Topic: args[0], Value: []byte("gone")}).FirstErr())
	req := kmsg.NewPtrDeleteRecordsRequest()
	topic, part := kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	topic.Topic, part.Offset = args[0], 1
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	res, err := req.RequestWith(ctx, client)
	ts.Check(err)
	ts.Check(kerr.ErrorForCode(res.Topics[0].Partitions[0].ErrorCode))
}

// cmdConsume prints the messages of a topic with one partition, each a line: consume NAME
func cmdConsume(ts *testscript.TestScript, neg bool, args []string) {
	client := ts.Value(brokerKey{}).(*broker).client()
	for at := int64(0); ; {
		res, err := client.Fetch(context.Background(), &kafka.FetchRequest{Topic: args[0], Offset: at, MinBytes: 1, MaxBytes: 16 << 20, MaxWait: time.Second})
		ts.Check(err)
		ts.Check(res.Error)
		for at < res.HighWatermark {
			r, err := res.Records.ReadRecord()
			if err != nil {
				break
			}
			value, err := kafka.ReadAll(r.Value)
			ts.Check(err)
			_, err = ts.Stdout().Write(append(value, '\n'))
			ts.Check(err)
			at = r.Offset + 1
		}
		if at >= res.HighWatermark {
			return
		}
	}
}
