package keyring

import "testing"

// TestAdmissionForgets: copies of grants that are known take no memory, however many come.
func TestAdmissionForgets(t *testing.T) {
	w, all := filled(t, 60)
	w.erase(t, Erasure{Scopes: w.tagged(t, tag("subject", 3))})
	a := w.Admission()
	for range 5 {
		verdicts, err := a.Admit(t.Context(), all)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range verdicts {
			if v != Repeated && v != Replayed {
				t.Fatalf("grant %d: %v", i, v)
			}
		}
	}
	if n := len(a.known) + len(a.spent); n > 0 {
		t.Errorf("%d of them are remembered", n)
	}
	most := 0
	for _, k := range a.now.live {
		most = max(most, len(k))
	}
	if most != 1 {
		t.Errorf("a key that is there is remembered %d times", most)
	}
}
