package e2e_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/logpipe/event"
)

// bulky makes records so large that a restore of them takes its time.
func bulky(sessions, records int) [][]logpipe.Record {
	all := synthetic(sessions, records)
	for _, session := range all {
		for i := range session {
			session[i].Body = bytes.Repeat(session[i].Body, 20)
		}
	}
	return all
}

// restoring is a site with two logs, and what was captured there.
func restoring(t *testing.T) (s *site, at string, sent []logpipe.Record) {
	broker := testbed.Kafka(t)
	s = newSite(t, fileURL(t, "archive"), "kafka://"+broker.Addr+"/"+testbed.Name(t), nil, "--partitions", "2")
	pipe := s.service(2, logpipe.Config{})
	sessions := bulky(60, 80)
	for _, half := range [][][]logpipe.Record{sessions[:30], sessions[30:]} {
		feed(t, pipe, half, time.Millisecond, nil)
		flush(t, pipe)
		s.compactOnce() // several commits a log
	}
	s.close(pipe)
	s.compactOnce()
	return s, broker.Addr, flat(sessions)
}

// TestRestoreToTopic restores to a topic of a real broker, killed in the middle again and again: the messages are the
// records that were captured, each once, each session in order; and the archive says that they left it.
func TestRestoreToTopic(t *testing.T) {
	t.Parallel()
	s, addr, sent := restoring(t)
	topic := testbed.Name(t)
	makeTopic(t, addr, topic, 3)
	out := "kafka://" + addr + "/" + topic
	if _, stderr, code := s.stele("restore", "--out", out); code != 2 || !strings.Contains(stderr, "--plaintext") {
		t.Errorf("without --plaintext: exit code %d\n%s", code, stderr)
	}
	if consumed := consume(t, addr, topic); len(consumed) > 0 {
		t.Fatalf("%d messages without --plaintext", len(consumed))
	}
	command := []string{"restore", "--out", out, "--plaintext", "--resume", filepath.Join(t.TempDir(), "state")}
	s.killedRestores(command, int64(len(sent)), func() int64 { return length(t, addr, topic) })
	if _, stderr, code := s.stele(command...); code != 0 {
		t.Fatalf("stele restore: exit code %d\n%s", code, stderr)
	}
	compare(t, sent, decode(t, consume(t, addr, topic)))

	s.compactOnce()
	if r := s.verify(0); r.Disclosures < 2 {
		t.Errorf("the control log holds %d disclosures", r.Disclosures)
	}
	data, err := os.ReadFile(filepath.Join(s.dir, "stele.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, own, _ := strings.Cut(string(data), "\nto: ")
	own, _, _ = strings.Cut(own, "\n")
	for _, transport := range []string{own, own + ".grants"} {
		_, stderr, code := s.stele("restore", "--out", transport, "--plaintext")
		if code != 1 {
			t.Errorf("%s: exit code %d", transport, code)
		}
		wantText(t, transport, stderr, "is the transport of an archive", "a topic of its own")
	}
}

// TestKilledRestore kills restores into a file in the middle of either log.
func TestKilledRestore(t *testing.T) {
	t.Parallel()
	s, _, sent := restoring(t)
	dir := filepath.Join(t.TempDir(), "restored")
	file := filepath.Join(dir, "records.jsonl")
	var whole int64
	for i := range sent {
		whole += int64(len(sent[i].Body)) + 100
	}
	command := []string{"restore", "--out", dir, "--resume", filepath.Join(t.TempDir(), "state")}
	s.killedRestores(command, whole, func() int64 {
		info, err := os.Stat(file)
		if err != nil {
			return 0
		}
		return info.Size()
	})
	if _, stderr, code := s.stele(command...); code != 0 {
		t.Fatalf("stele restore: exit code %d\n%s", code, stderr)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, sent, decode(t, slices.Collect(bytes.Lines(data))))
}

// killedRestores runs a restore several times and kills each when so many eighths of the whole are out.
func (s *site) killedRestores(command []string, whole int64, out func() int64) {
	s.t.Helper()
	killed := 0
	for eighth := range int64(7) {
		p := start(s.t, s.command("stele", command...), filepath.Join(s.t.TempDir(), "log"))
		for end := time.Now().Add(time.Minute); out() <= whole*eighth/8; time.Sleep(time.Millisecond) {
			if p.ended() || time.Now().After(end) {
				break
			}
		}
		p.end(syscall.SIGKILL)
		if p.err != nil && strings.Contains(p.err.Error(), "killed") {
			killed++
		}
	}
	s.t.Logf("%d restores were killed", killed)
	if killed == 0 {
		s.t.Error("no restore was killed: they ended before")
	}
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func decode(t *testing.T, lines [][]byte) (all []logpipe.Record) {
	t.Helper()
	for _, line := range lines {
		var r logpipe.Record
		if err := event.Decode(line, &r); err != nil {
			t.Fatalf("%v: %.200s", err, line)
		}
		all = append(all, r)
	}
	return all
}

func makeTopic(t *testing.T, addr, topic string, partitions int) {
	t.Helper()
	c := &kafka.Client{Addr: kafka.TCP(addr), Timeout: time.Minute}
	res, err := c.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}}})
	if err == nil {
		err = res.Errors[topic]
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "topic "+topic, time.Minute, func() bool {
		res, err := c.Metadata(t.Context(), &kafka.MetadataRequest{Topics: []string{topic}})
		return err == nil && len(res.Topics) == 1 && res.Topics[0].Error == nil && len(res.Topics[0].Partitions) == partitions
	})
}

// ends returns where the partitions of a topic end.
func ends(t *testing.T, addr, topic string) []kafka.PartitionOffsets {
	t.Helper()
	c := &kafka.Client{Addr: kafka.TCP(addr), Timeout: time.Minute}
	meta, err := c.Metadata(t.Context(), &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		t.Fatal(err)
	}
	var of []kafka.OffsetRequest
	for _, p := range meta.Topics[0].Partitions {
		of = append(of, kafka.LastOffsetOf(p.ID))
	}
	res, err := c.ListOffsets(t.Context(), &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: of}})
	if err != nil {
		t.Fatal(err)
	}
	return res.Topics[topic]
}

// length is the number of messages in a topic.
func length(t *testing.T, addr, topic string) (n int64) {
	for _, p := range ends(t, addr, topic) {
		n += p.LastOffset
	}
	return n
}

// consume reads all messages of a topic, one partition after the other. None may have a key.
func consume(t *testing.T, addr, topic string) (values [][]byte) {
	t.Helper()
	c := &kafka.Client{Addr: kafka.TCP(addr), Timeout: time.Minute}
	for _, p := range ends(t, addr, topic) {
		for at := int64(0); at < p.LastOffset; {
			res, err := c.Fetch(t.Context(), &kafka.FetchRequest{Topic: topic, Partition: p.Partition, Offset: at, MinBytes: 1, MaxBytes: 16 << 20, MaxWait: time.Second})
			if err == nil {
				err = res.Error
			}
			if err != nil {
				t.Fatal(err)
			}
			for {
				r, err := res.Records.ReadRecord()
				if err != nil {
					break
				}
				if r.Offset < at {
					continue // batches come whole
				}
				at = r.Offset + 1
				if r.Key != nil {
					t.Errorf("message %d of partition %d has a key", r.Offset, p.Partition)
				}
				value, err := kafka.ReadAll(r.Value)
				if err != nil {
					t.Fatal(err)
				}
				values = append(values, value)
			}
		}
	}
	return values
}
