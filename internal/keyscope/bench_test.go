//go:build unix

package keyscope

import (
	"syscall"
	"testing"
)

// cpu reports the processor time of the whole process for each of the operations that run after it, garbage collection
// included. The function it returns ends the count.
func cpu(b *testing.B) func() {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	start := used()
	return func() { b.ReportMetric(float64(used()-start)/float64(b.N), "cpu-ns/op") }
}

func BenchmarkEncapsulate(b *testing.B) {
	v := readVectors(b)
	public := privateKey(b, v.ReadSeed).PublicKey()
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		if _, err := NewReadWrap(public, v.archive(), v.stream(), v.Day); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecapsulate(b *testing.B) {
	v := readVectors(b)
	key := privateKey(b, v.ReadSeed)
	enc := (*[EncapsulationSize]byte)(v.ReadEncapsulation)
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		if _, err := OpenReadWrap(key, v.archive(), v.stream(), v.Day, enc); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGrant is what a writer pays for each scope beside its records: tags, both wraps, key check value, hash.
func BenchmarkGrant(b *testing.B) {
	v := readVectors(b)
	read, intake := v.openWraps(b)
	binding := v.binding()
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		tags := v.tags()
		g, _, err := MakeGrant((*[32]byte)(v.Key), &tags, binding, read, intake)
		if err != nil {
			b.Fatal(err)
		}
		g.Hash()
	}
}

// BenchmarkUnwrap is what a reader and the key service pay together for each scope, with the encapsulations open.
func BenchmarkUnwrap(b *testing.B) {
	v := readVectors(b)
	read, intake := v.openWraps(b)
	binding := v.binding()
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		inner, _, err := intake.Unwrap((*[OuterSize]byte)(v.Outer), binding)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := read.Unwrap(&inner, binding); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGrantMessage(b *testing.B) {
	v := readVectors(b)
	read, intake := v.openWraps(b)
	m, _ := v.makeGrants(b, read, intake)
	for range 99 {
		m.Grants = append(m.Grants, m.Grants[0])
	}
	data, err := m.Sign(v.streamKey())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("sign=100", func(b *testing.B) {
		b.ReportAllocs()
		defer cpu(b)()
		key := v.streamKey()
		for b.Loop() {
			if _, err := m.Sign(key); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parse=100", func(b *testing.B) {
		b.ReportAllocs()
		defer cpu(b)()
		for b.Loop() {
			if _, err := ParseGrants(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
