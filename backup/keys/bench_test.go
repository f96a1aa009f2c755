package keys_test

import (
	"testing"

	"github.com/stelelog/stele/backup/keys"
)

// BenchmarkFold folds messages of 64 grants into a key store in memory; B/op is per message.
func BenchmarkFold(b *testing.B) {
	w := newWorld(b)
	s := w.open(w.config())
	g := w.granter()
	msgs := make([][]byte, 64)
	for b.Loop() {
		b.StopTimer()
		for i := range msgs {
			msgs[i], _ = g.message(64, "ada", "", "default", 0)
			g.send(msgs[i])
		}
		b.StartTimer()
		if err := s.Fold(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(msgs)*64), "µs/grant")
}

// BenchmarkAnswer asks for 100 scopes among 20,000, and for a subject of 100.
func BenchmarkAnswer(b *testing.B) {
	w := newWorld(b)
	s := w.open(w.config())
	g := w.granter()
	var some [][16]byte
	for i := range 200 {
		ids := g.grant(100, string(rune('a'+i%26))+string(rune('a'+i/26)))
		some = append(some, ids[i%100])
	}
	if err := s.Fold(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Run("scopes=100", func(b *testing.B) {
		for b.Loop() {
			if got, err := w.ask(s, some[:100], nil); err != nil || len(got) != 100 {
				b.Fatal(len(got), err)
			}
		}
	})
	b.Run("subject", func(b *testing.B) {
		for b.Loop() {
			if got, err := w.ask(s, nil, w.tag("aa")); err != nil || len(got) != 100 {
				b.Fatal(len(got), err)
			}
		}
	})
}

// BenchmarkErase erases subjects of 100 scopes one after the other among those that are left, custodians in memory.
func BenchmarkErase(b *testing.B) {
	w := newWorld(b)
	s := w.open(w.config())
	g := w.granter()
	name := func(i int) string {
		return string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676))
	}
	for i := range 300 {
		g.grant(100, name(i))
	}
	if err := s.Fold(b.Context()); err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		done, err := s.Erase(b.Context(), keys.Erasure{Tags: w.tag(name(i))})
		if err != nil || i < 300 && done.Scopes != 100 {
			b.Fatal(done, err)
		}
		i++
	}
}
