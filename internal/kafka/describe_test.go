package kafka

import (
	"io/fs"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestCreateAndDescribe(t *testing.T) {
	cluster := fake(t, kfake.ClusterID("the-cluster"), kfake.NumBrokers(3))
	c := open(t, Config{Brokers: cluster.ListenAddrs(), Topic: "new"})
	_, err := c.Describe(t.Context())
	wantError(t, err, ErrNoTopic)
	if !strings.Contains(err.Error(), "stele topics create") {
		t.Fatal(err)
	}
	spec := TopicSpec{Partitions: 4, Replication: 3, Configs: map[string]string{
		cfgRetention: "86400000", cfgBytes: "-1", cfgMaxMessage: "2000000", cfgMinInSync: "2"}}
	must(t, c.Create(t.Context(), spec))
	must(t, c.Create(t.Context(), spec)) // again: nothing to do

	topic, err := c.Check(t.Context())
	must(t, err)
	want := &Settings{CleanupPolicy: "delete", Retention: 24 * time.Hour, RetentionBytes: -1,
		MinInSync: 2, MaxMessageBytes: 2_000_000, AppendTime: true}
	if diff := cmp.Diff(want, topic.Settings); diff != "" {
		t.Error(diff)
	}
	id := cluster.TopicInfo("new").TopicID
	if topic.Cluster != "the-cluster" || topic.Name != "new" || topic.ID != id || topic.Partitions() != 4 || topic.Replicas != 3 {
		t.Errorf("got %+v, topic id %x", topic, id)
	}
	for p, leader := range topic.Leaders {
		if want := cluster.LeaderFor("new", int32(p)); leader != int(want) {
			t.Errorf("partition %d is led by %d, want %d", p, leader, want)
		}
	}
	// Deleted and created again: another id.
	must(t, cluster.DeleteTopic("new"))
	must(t, c.Create(t.Context(), spec))
	again, err := c.Describe(t.Context())
	must(t, err)
	if again.ID == topic.ID {
		t.Error("the new topic has the old id")
	}
}

func TestCreateConflicts(t *testing.T) {
	cluster := fake(t)
	c := open(t, Config{Brokers: cluster.ListenAddrs(), Topic: "taken"})
	must(t, c.Create(t.Context(), TopicSpec{Partitions: 2, Replication: 1, Configs: map[string]string{cfgRetention: "1000"}}))
	err := c.Create(t.Context(), TopicSpec{Partitions: 3, Configs: map[string]string{cfgRetention: "2000"}})
	wantError(t, err, fs.ErrExist)
	for _, want := range []string{"2 partitions instead of 3", "retention.ms=1000 instead of 2000"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestCheckRefusesCompaction(t *testing.T) {
	cluster := fake(t)
	for _, policy := range []string{"compact", "compact,delete"} {
		name := strings.ReplaceAll(policy, ",", "-")
		must(t, cluster.CreateTopic(name, 1, map[string]string{cfgCleanup: policy}))
		_, err := open(t, Config{Brokers: cluster.ListenAddrs(), Topic: name}).Check(t.Context())
		if err == nil || !strings.Contains(err.Error(), "cleanup.policy="+policy) {
			t.Errorf("%s: %v", policy, err)
		}
	}
}

func TestCheckSettingsDenied(t *testing.T) {
	cluster := fake(t)
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	topic, err := openFake(t, cluster).Check(t.Context())
	if err != nil || topic.Settings != nil || topic.Partitions() != 3 {
		t.Fatalf("%+v, %v", topic, err)
	}
}

// TestCheckVersions lets the broker drop what we need.
func TestCheckVersions(t *testing.T) {
	cluster := fake(t)
	cluster.ControlKey(int16(kmsg.ApiVersions), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		res := kmsg.NewPtrApiVersionsResponse()
		res.Version = req.GetVersion()
		for _, n := range needs() {
			k := kmsg.NewApiVersionsResponseApiKey()
			k.ApiKey, k.MinVersion, k.MaxVersion = int16(n.key), n.min, n.max
			switch kmsg.Key(n.key) {
			case kmsg.Metadata:
				k.MinVersion, k.MaxVersion = 0, metadataVersion
			case kmsg.FindCoordinator:
				k.MinVersion, k.MaxVersion = 0, 2
			case kmsg.Fetch:
				k.MinVersion, k.MaxVersion = fetchVersion+1, fetchVersion+8
			case kmsg.DeleteRecords:
				continue
			}
			res.ApiKeys = append(res.ApiKeys, k)
		}
		return res, nil, true
	})
	_, err := openFake(t, cluster).Check(t.Context())
	wantError(t, err, errIncompatible)
	if want := "Fetch v11-v11 (offered v12-v19), DeleteRecords (not offered)"; !strings.Contains(err.Error(), want) {
		t.Fatalf("%v does not say %q", err, want)
	}
}

func TestOffsets(t *testing.T) {
	cluster := fake(t)
	c := openFake(t, cluster)
	produce(t, c, 0, numbered(0, 5))
	produce(t, c, 2, numbered(0, 7))
	ends, err := c.EndOffsets(t.Context())
	must(t, err)
	if diff := cmp.Diff([]int64{5, 0, 7}, ends); diff != "" {
		t.Fatal(diff)
	}
	_, err = c.DeleteRecords(t.Context(), 2, 3)
	must(t, err)
	start, end, err := c.Offsets(t.Context(), 2)
	must(t, err)
	if start != 3 || end != 7 {
		t.Fatalf("offsets %d to %d", start, end)
	}
	_, err = c.DeleteRecords(t.Context(), 2, 8)
	wantError(t, err, ErrOutOfRange)
	_, _, err = c.Offsets(t.Context(), 9)
	wantError(t, err, ErrNoTopic)
}

// TestOffsetsPassPartialFailure: kafka-go merges answers and hides which failed.
func TestOffsetsPassPartialFailure(t *testing.T) {
	cluster := fake(t)
	c := openFake(t, cluster)
	produce(t, c, 1, numbered(0, 5))
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Partitions: []int32{1}, Err: kerr.NotLeaderForPartition, Count: 2})
	ends, err := c.EndOffsets(t.Context())
	must(t, err)
	if ends[1] != 5 {
		t.Fatalf("ends %v", ends)
	}
}

// TestHungBroker accepts connections and never answers.
func TestHungBroker(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	c := open(t, Config{Brokers: []string{l.Addr().String()}, Timeout: 300 * time.Millisecond})
	start := time.Now()
	if _, err := c.Describe(t.Context()); err == nil || time.Since(start) > patience {
		t.Fatalf("after %v: %v", time.Since(start), err)
	}
}
