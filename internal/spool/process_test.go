package spool

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// helperEnv makes the test binary run as a writing process: "<directory> <lane> <messages, 0: no end>".
const helperEnv = "STELE_SPOOL_TEST_WRITER"

const helperThreads = 4

func TestMain(m *testing.M) {
	if args := os.Getenv(helperEnv); args != "" {
		if err := writerProcess(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// writerProcess appends from several goroutines and reports each message once it is synced.
func writerProcess(args string) error {
	f := strings.Fields(args)
	id, err := parseID(f[1])
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(f[2])
	if err != nil {
		return err
	}
	d, err := Open(f[0], Options{FileBytes: 20_000, MustExist: true})
	if err != nil {
		return err
	}
	w, err := d.CreateLane(id)
	if err != nil {
		return err
	}
	errs := make(chan error)
	for thread := range helperThreads {
		go func() { errs <- writeThread(w, thread, count) }()
	}
	for range helperThreads {
		if err := <-errs; err != nil {
			return err
		}
	}
	return w.Close()
}

func writeThread(w *Writer, thread, count int) error {
	kind := []Kind{Frames, Grants}[thread%2]
	for i := 0; count == 0 || i < count; i++ {
		message := append(binary.BigEndian.AppendUint64([]byte{byte(thread)}, uint64(i)), text(uint64(i%100))...)
		pos, err := w.Append(kind, message)
		if err == nil {
			err = w.Sync(context.Background())
		}
		if err != nil {
			return err
		}
		fmt.Printf("%d %d %d\n", thread, i, pos) // one write
	}
	return nil
}

func startWriter(t *testing.T, dir string, lane [16]byte, count int) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", helperEnv, dir, hex.EncodeToString(lane[:]), count))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	check0(t, err)
	check0(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, bufio.NewScanner(out)
}

// message identifies one message of a writing process.
type sent struct{ thread, i int }

func parseSent(t *testing.T, payload []byte) sent {
	t.Helper()
	s := sent{int(payload[0]), int(binary.BigEndian.Uint64(payload[1:9]))}
	if string(payload[9:]) != string(text(uint64(s.i%100))) {
		t.Fatalf("message %v has a wrong body", s)
	}
	return s
}

// TestKill kills a writing process again and again: what it reported as synced is there, at the position
// that it got, in order, and nothing else is.
func TestKill(t *testing.T) {
	d := open(t, Options{})
	total, cut := 0, int64(0)
	for round := range 25 {
		lane := [16]byte{1, byte(round)}
		acked := map[sent]uint64{}
		cmd, lines := startWriter(t, d.path, lane, 0)
		if !lines.Scan() {
			t.Fatal("the writer did not start")
		}
		time.AfterFunc(time.Duration(rand.IntN(20_000))*time.Microsecond, func() { cmd.Process.Kill() })
		for ok := true; ok; ok = lines.Scan() {
			var s sent
			var pos uint64
			if n, _ := fmt.Sscanf(lines.Text()+"\n", "%d %d %d\n", &s.thread, &s.i, &pos); n == 3 {
				acked[s] = pos
			}
		}
		cmd.Wait()
		h, err := d.OpenLane(lane)
		check0(t, err)
		check0(t, h.Close())
		cut += h.Cut
		found := map[sent]uint64{}
		if n := collect(t, d, lane, Frames, found) + collect(t, d, lane, Grants, found); n != h.Frames+h.Grants {
			t.Fatalf("round %d: read %d, recovered %+v", round, n, h)
		}
		for s, pos := range acked {
			if at, ok := found[s]; !ok || at != pos {
				t.Fatalf("round %d: %v was acknowledged at %d, found %t at %d", round, s, pos, ok, at)
			}
		}
		total += len(acked)
	}
	t.Logf("%d acknowledged messages, %d bytes of unfinished writes cut", total, cut)
}

// collect reads a whole log of an ended lane and checks the order of each thread's messages.
func collect(t *testing.T, d *Dir, lane [16]byte, kind Kind, found map[sent]uint64) uint64 {
	t.Helper()
	next := map[int]int{}
	r := d.Reader(lane, kind)
	defer r.Close()
	for pos := uint64(0); ; {
		messages, err := r.Read(pos, 10_000)
		if err == io.EOF {
			return pos
		}
		check0(t, err)
		if len(messages) == 0 {
			t.Fatal("an ended lane has no more and no end")
		}
		for _, m := range messages {
			s := parseSent(t, m.Payload)
			if s.i != next[s.thread] {
				t.Fatalf("position %d: thread %d goes on with %d after %d", pos, s.thread, s.i, next[s.thread]-1)
			}
			next[s.thread]++
			found[s] = m.Pos
			pos++
		}
	}
}

// TestReadWhileWriting follows the log of another process and trims behind itself.
func TestReadWhileWriting(t *testing.T) {
	const count = 400
	d := open(t, Options{})
	cmd, lines := startWriter(t, d.path, laneA, count)
	if !lines.Scan() {
		t.Fatal("the writer did not start")
	}
	go func() {
		for lines.Scan() { // keep the pipe empty
		}
	}()
	for _, kind := range kinds {
		next, pos := map[int]int{}, uint64(0)
		r := d.Reader(laneA, kind)
		for {
			messages, err := r.Follow(t.Context(), pos, 1+rand.IntN(5000), 4*time.Millisecond)
			if err == io.EOF {
				break
			}
			check0(t, err)
			for _, m := range messages {
				s := parseSent(t, m.Payload)
				if s.i != next[s.thread] || m.Pos != pos {
					t.Fatalf("position %d: %v at %d", pos, s, m.Pos)
				}
				next[s.thread]++
				pos++
			}
			check0(t, d.Trim(laneA, kind, pos))
		}
		if pos != 2*count {
			t.Fatalf("%s: %d messages", kind, pos)
		}
		check0(t, d.Trim(laneA, kind, pos))
	}
	check0(t, cmd.Wait())
	check0(t, d.Remove(laneA))
}
