package keyring

import (
	"bytes"
	"testing"
)

// FuzzScope: what is read as a scope is written again as the same bytes.
func FuzzScope(f *testing.F) {
	w := newWorld(1)
	for i := range 20 {
		s := w.offer(3, uint16(i%2))
		f.Add(s.path(), s.value())
	}
	f.Fuzz(func(t *testing.T, path, value []byte) {
		s, err := parseScope(path, value)
		if err == nil && !bytes.Equal(s.value(), value) {
			t.Errorf("%x is written as %x", value, s.value())
		}
	})
}

// FuzzErased: a list has one spelling.
func FuzzErased(f *testing.F) {
	w, _ := filled(f, 60)
	_, list := w.erased(f, Erasure{Scopes: w.tagged(f, tag("subject", 1)), Days: []uint16{firstDay + 5}})
	archive := [16]byte{3}
	f.Add(list.Marshal(archive))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseErased(archive, data)
		if err == nil && !bytes.Equal(e.Marshal(archive), data) {
			t.Errorf("%x is written as %x", data, e.Marshal(archive))
		}
	})
}
