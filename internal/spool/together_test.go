package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestManyAtOneSpool: writers that die, and several who take over what they left, open one directory over and over. Each message
// that was acknowledged is taken by one of them, and by no second one.
func TestManyAtOneSpool(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	opts := Options{FileBytes: 300, MaxBytes: 1 << 20}
	var mu sync.Mutex
	acked, taken := map[string]bool{}, map[string]int{}
	var writers, takers sync.WaitGroup
	for n := range 4 {
		writers.Go(func() {
			for i := range 12 {
				d, err := Open(dir, opts)
				if err != nil {
					t.Error(err)
					return
				}
				lane := [16]byte{1, byte(n), byte(i)}
				if err := writeAndDie(d, lane, i%3 == 0, func(m string) { mu.Lock(); acked[m] = true; mu.Unlock() }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	for range 3 {
		takers.Go(func() {
			for last := false; ; {
				left, err := takeOver(dir, opts, func(m string) { mu.Lock(); taken[m]++; mu.Unlock() })
				if err != nil {
					t.Error(err)
				}
				if last && left == 0 || err != nil {
					return
				}
				select {
				case <-done:
					last = true
				default:
				}
			}
		})
	}
	writers.Wait()
	close(done)
	takers.Wait()
	for m := range acked {
		if taken[m] == 0 {
			t.Errorf("%s was acknowledged, and nobody has it", m)
		}
	}
	for m, n := range maps.All(taken) {
		if n > 1 {
			t.Errorf("%s was taken %d times", m, n)
		}
	}
	if len(acked) < 300 {
		t.Errorf("only %d messages", len(acked))
	}
}

// writeAndDie fills a lane, and ends it or leaves part of a record behind.
func writeAndDie(d *Dir, lane [16]byte, clean bool, acked func(string)) error {
	w, err := d.CreateLane(lane)
	if err != nil {
		return err
	}
	for i := range 10 {
		kind := kinds[i%2]
		m := fmt.Sprintf("lane %x, message %d", lane[:3], i)
		if _, err := w.Append(kind, []byte(m)); err != nil {
			return err
		}
		if err := w.Sync(context.Background()); err != nil {
			return err
		}
		acked(m)
	}
	if clean {
		return w.Close()
	}
	c := newCodec(lane, Frames)
	if _, err := w.logs[Frames.index()].file.Write(c.appendRecord(nil, 5, 0, []byte("half"))[:22]); err != nil {
		return err
	}
	crash(w)
	return nil
}

// takeOver reads what it can claim, and removes it. left is how many lanes there were.
func takeOver(dir string, opts Options, taken func(string)) (left int, err error) {
	d, err := Open(dir, opts)
	if err != nil {
		return 0, err
	}
	lanes, err := d.Lanes()
	if err != nil {
		return 0, err
	}
	for _, l := range lanes {
		h, err := d.OpenLane(l.ID)
		if errors.Is(err, ErrBusy) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		err = errors.Join(drain(d, l.ID, Grants, h.Grants, taken), drain(d, l.ID, Frames, h.Frames, taken), h.Close())
		if err != nil {
			return 0, err
		}
		if err := d.Remove(l.ID); err != nil && !errors.Is(err, ErrBusy) && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
	}
	if len(lanes) == 0 {
		time.Sleep(time.Millisecond)
	}
	return len(lanes), nil
}

func drain(d *Dir, lane [16]byte, kind Kind, end uint64, taken func(string)) error {
	r := d.Reader(lane, kind)
	defer r.Close()
	for at := uint64(0); ; {
		messages, err := r.Read(at, 200)
		var e *Error
		if errors.Is(err, ErrPosition) && errors.As(err, &e) && e.First > at {
			at = e.First // somebody has taken these
			continue
		}
		if err == io.EOF {
			return d.Trim(lane, kind, end)
		}
		if err != nil || len(messages) == 0 {
			return fmt.Errorf("at %d of %d: %d messages, %w", at, end, len(messages), err)
		}
		for _, m := range messages {
			taken(string(m.Payload))
		}
		at += uint64(len(messages))
	}
}
