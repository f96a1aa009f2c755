package spool

import (
	"context"
	"fmt"
	"sync"
	"testing"
)

var benchSizes = []int{1 << 10, 64 << 10, 512 << 10}

// BenchmarkAppend is the cost without a sync, of which there is one in 16 MiB.
func BenchmarkAppend(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			d := open(b, Options{})
			w := create(b, d, laneA)
			message := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			pos := uint64(0)
			for b.Loop() {
				var err error
				if pos, err = w.Append(Frames, message); err != nil {
					b.Fatal(err)
				}
				if pos%uint64((256<<20)/size) == 0 {
					if err := d.Trim(laneA, Frames, pos); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkSync is append and group commit of 1 KiB, per message, with so many goroutines.
func BenchmarkSync(b *testing.B) {
	for _, waiters := range []int{1, 4, 64} {
		b.Run(fmt.Sprintf("waiters=%d", waiters), func(b *testing.B) {
			w := create(b, open(b, Options{}), laneA)
			message := make([]byte, 1<<10)
			b.ReportAllocs()
			b.ResetTimer()
			var group sync.WaitGroup
			for i := range waiters {
				group.Go(func() {
					for n := i; n < b.N; n += waiters {
						_, err := w.Append(Frames, message)
						if err == nil {
							err = w.Sync(context.Background())
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
		})
	}
}

// BenchmarkRead reads 64 MiB over and over, from the page cache.
func BenchmarkRead(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			d := open(b, Options{})
			w := create(b, d, laneA)
			count := (64 << 20) / size
			message := make([]byte, size)
			for range count {
				if _, err := w.Append(Frames, message); err != nil {
					b.Fatal(err)
				}
			}
			r := d.Reader(laneA, Frames)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for n, pos := 0, 0; n < b.N; {
				messages, err := r.Read(uint64(pos), 1<<20)
				if err != nil || len(messages) == 0 {
					b.Fatal(len(messages), err)
				}
				n += len(messages)
				pos = (pos + len(messages)) % count
			}
		})
	}
}

// BenchmarkIdleRead is one look at a log that has nothing new.
func BenchmarkIdleRead(b *testing.B) {
	d := open(b, Options{})
	w := create(b, d, laneA)
	appendTexts(b, w, Frames, 0, 10)
	r := d.Reader(laneA, Frames)
	b.ReportAllocs()
	for b.Loop() {
		if m, err := r.Read(10, 0); err != nil || len(m) > 0 {
			b.Fatal(m, err)
		}
	}
}
