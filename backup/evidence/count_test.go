package evidence

import "testing"

func TestCount(t *testing.T) {
	for want, got := range map[string]string{
		"0 scopes": count(0, "scope"), "1 scope": count(1, "scope"), "2 scopes": count(uint64(2), "scope"),
		"0 matches": count(0, "match"), "1 match": count(1, "match"), "12 matches": count(12, "match"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
