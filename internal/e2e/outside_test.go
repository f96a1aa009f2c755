package e2e_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/logpipe"
)

// TestOutsideReaders lets programs that know nothing of Stele read what it makes: pyarrow and DuckDB the indexes, kcat the
// topic. A copy made by cp verifies as the original does.
func TestOutsideReaders(t *testing.T) {
	t.Parallel()
	python, kcat, broker := testbed.Python(t), testbed.Kcat(t), testbed.Kafka(t)
	topic, archive := testbed.Name(t), fileURL(t, "archive")
	s := newSite(t, archive, "kafka://"+broker.Addr+"/"+topic, nil)
	sessions := converse(realInput(t, 0)[600:1000]) // two models meet at 805
	for i := range sessions {
		for j := range sessions[i] {
			// About 30 sessions an hour.
			r := &sessions[i][j]
			r.Time = r.Time.Add(time.Duration(120*i) * time.Second)
		}
	}
	sent := flat(sessions)
	pipe := s.service(3, logpipe.Config{Default: logpipe.ClassConfig{Wait: time.Minute}})
	half := len(sessions) / 2
	feed(t, pipe, sessions[:half], 0, nil)
	if err := pipe.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.compactOnce()
	feed(t, pipe, sessions[half:], 0, nil)
	s.close(pipe)
	s.compactOnce()
	s.verify(0, "--unlock")

	dir := strings.TrimPrefix(archive, "file://")
	want := modelHours(sent)
	if len(want) < 4 {
		t.Fatalf("the input has too few models and hours: %v", want)
	}
	for _, reader := range []string{"pyarrow", "duckdb"} {
		t.Run(reader, func(t *testing.T) {
			if diff := cmp.Diff(want, queryIndex(t, python, reader, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("kcat", func(t *testing.T) { readTopic(t, kcat, broker.Addr, topic) })
	t.Run("cp", func(t *testing.T) { copied(t, s, dir, sent) })
}

// modelHours counts records by model and hour, as "2026-01-02T03 model".
func modelHours(records []logpipe.Record) map[string]int {
	count := map[string]int{}
	for i := range records {
		var a struct {
			Model string `json:"gen_ai.request.model"`
		}
		if err := json.Unmarshal(records[i].Attributes, &a); err != nil {
			panic(err) // made by this test
		}
		count[records[i].Time.UTC().Format("2006-01-02T15 ")+a.Model]++
	}
	return count
}

// queryIndex has a Python program count the records of an archive by model and hour.
func queryIndex(t *testing.T, python, reader, archive string) map[string]int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), python, "testdata/outside.py", reader, archive)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, errs.Bytes())
	}
	var got map[string]int
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return got
}

// readTopic counts the messages of all partitions with kcat, up to the end offset that kcat asks the broker for.
func readTopic(t *testing.T, kcat, broker, topic string) {
	t.Helper()
	for partition := range 3 {
		query := fmt.Sprintf("%s:%d:-1", topic, partition)
		out, err := exec.CommandContext(t.Context(), kcat, "-Q", "-b", broker, "-t", query).Output()
		var end int
		if err == nil {
			_, err = fmt.Sscanf(string(out), topic+" ["+fmt.Sprint(partition)+"] offset %d", &end)
		}
		if err != nil {
			t.Fatalf("kcat -Q: %v: %s", err, out)
		}
		out, err = exec.CommandContext(t.Context(), kcat, "-C", "-e", "-q", "-b", broker, "-t", topic, "-p", fmt.Sprint(partition),
			"-f", "%R%s").Output() // %R: length of the message, 4 bytes, big endian
		if err != nil {
			t.Fatalf("kcat -C: %v", err)
		}
		messages := 0
		for ; len(out) >= 4; messages++ {
			n := int(binary.BigEndian.Uint32(out))
			if n > len(out)-4 {
				break
			}
			m := out[4 : 4+n]
			if !bytes.HasPrefix(m, []byte("STLF")) && !bytes.HasPrefix(m, []byte("STLB")) {
				t.Errorf("partition %d: message %d begins with %q", partition, messages, m[:min(4, n)])
			}
			out = out[4+n:]
		}
		if messages != end || end == 0 || len(out) != 0 {
			t.Errorf("partition %d: kcat read %d messages, the end offset is %d, %d bytes are left", partition, messages, end, len(out))
		}
	}
}

// copied verifies and restores a copy that cp made.
func copied(t *testing.T, s *site, archive string, sent []logpipe.Record) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	t.Cleanup(func() { removeAll(t, to) })
	if out, err := exec.CommandContext(t.Context(), "cp", "-r", archive, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	before := s.verify(0, "--unlock")
	there := s.with("STELE_ARCHIVE=file://" + to)
	after := there.verify(0, "--unlock")
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the copy's report differs:\n%s", diff)
	}
	compare(t, sent, there.restore())

	// The copy is what is read: without its newest commit it is no longer whole.
	commits, err := filepath.Glob(filepath.Join(to, "logs", "*", "*", "commits", "*"))
	if err != nil || len(commits) < 3 {
		t.Fatalf("%d commits, %v", len(commits), err)
	}
	if err := os.Remove(commits[len(commits)-1]); err != nil {
		t.Fatal(err)
	}
	there.verify(10)
	s.verify(0)
}
