package objkey

import (
	"io/fs"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	part := strings.Repeat("p", maxPart)
	long := strings.Repeat("p/", maxKey/2-1) + "pp"
	for _, test := range []struct {
		key    string
		whole  bool // a whole key
		prefix bool // the beginning of one
	}{
		{"a", true, true},
		{"logs/p0/2026q4/commits/00000000000000000001", true, true},
		{"A-z_0.9/x..y/z.", true, true},
		{"-", true, true},
		{part, true, true},
		{long, true, true},
		{"", false, true},
		{"a/", false, true},
		{"/", false, false},
		{"/a", false, false},
		{"a//b", false, false},
		{"a//", false, false},
		{".", false, false},
		{"..", false, false},
		{"../a", false, false},
		{"a/../b", false, false},
		{"a/..", false, false},
		{".stele/locks/a", false, false},
		{"a/.hidden", false, false},
		{"a b", false, false},
		{"a\\b", false, false},
		{"a\x00", false, false},
		{"ä", false, false},
		{"a~", false, false},
		{part + "p", false, false},
		{long + "p", false, false},
	} {
		if err := Check(test.key); (err == nil) != test.whole {
			t.Errorf("Check(%q) = %v", test.key, err)
		}
		if err := CheckPrefix(test.key); (err == nil) != test.prefix {
			t.Errorf("CheckPrefix(%q) = %v", test.key, err)
		}
	}
}

// FuzzCheck holds Check against the standard library's idea of a path that stays inside its root.
func FuzzCheck(f *testing.F) {
	f.Add("a/b")
	f.Add("../a")
	f.Fuzz(func(t *testing.T, key string) {
		if Check(key) != nil {
			return
		}
		if !fs.ValidPath(key) || key == "." {
			t.Errorf("Check accepts %q, which is no valid path", key)
		}
		for i := range len(key) + 1 {
			if err := CheckPrefix(key[:i]); err != nil {
				t.Errorf("prefix of valid key %q: %v", key, err)
			}
		}
	})
}
