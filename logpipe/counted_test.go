package logpipe

import "testing"

// TestCountedWhenFlushed: who has been told that all is there finds it in the figures.
func TestCountedWhenFlushed(t *testing.T) {
	_, _, cfg := fileArchive(t)
	p := mustOpen(t, cfg)
	defer mustClose(t, p)
	for n := range uint64(400) {
		if err := p.Capture(t.Context(), &Record{Kind: Input, Body: []byte("hello")}); err != nil {
			t.Fatal(err)
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st := p.Stats(); st.Sealed != n+1 || st.Acked != n+1 || st.Memory != 0 {
			t.Fatalf("after %d times Flush: %+v", n+1, st)
		}
	}
}
