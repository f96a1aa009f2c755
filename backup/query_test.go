package backup_test

import (
	"slices"
	"testing"

	. "github.com/stelelog/stele/backup"
)

// A query that begins at any leaf gives what a whole one gives from there on, bodies that refer to what lies before included.
func TestQueryFrom(t *testing.T) {
	a, _, keys, records := built(t)
	var all []Found
	for f, err := range a.reader(keys).Records(t.Context(), Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	if len(all) != len(records) {
		t.Fatalf("%d records, want %d", len(all), len(records))
	}
	for from := range all[len(all)-1].Index + 2 {
		r, want := a.reader(keys), all
		for len(want) > 0 && want[0].Index < from {
			want = want[1:]
		}
		var got []string
		for f, err := range r.Records(t.Context(), Query{From: map[string]uint64{all[0].Log: from, "another": 1}}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(f.Body))
		}
		same := slices.EqualFunc(got, want, func(body string, f Found) bool { return body == string(f.Body) })
		if !same {
			t.Errorf("from leaf %d: %d records, want %d", from, len(got), len(want))
		}
	}
}
