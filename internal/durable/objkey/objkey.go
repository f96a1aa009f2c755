// Package objkey says which object keys and listing prefixes a store accepts. All stores use it, so that
// an object that one of them holds can be copied to every other one.
package objkey

import (
	"fmt"
	"strings"
)

// maxKey and maxPart bound a key and one of its parts, in bytes. They leave room for the prefix of an
// archive inside a bucket (S3 ends at 1024) and for the file systems (a name ends at 255).
const (
	maxKey  = 512
	maxPart = 200
)

// Check returns an error unless key is 1 to maxKey bytes of [a-zA-Z0-9._/-] made of parts of 1 to maxPart
// bytes between single '/', none of which begins with '.'. (Such names are hidden files in a directory;
// the rule also excludes "." and "..".)
func Check(key string) error {
	if key == "" {
		return fmt.Errorf("invalid key %q: it is empty", key)
	}
	return check("key", key, true)
}

// CheckPrefix returns an error unless prefix is empty or is the beginning of a key that Check accepts.
func CheckPrefix(prefix string) error { return check("prefix", prefix, false) }

func check(what, s string, whole bool) error {
	if len(s) > maxKey {
		return fmt.Errorf("invalid %s %q…: it has %d bytes, %d are allowed", what, s[:32], len(s), maxKey)
	}
	for i := range len(s) {
		if !allowed(s[i]) {
			return fmt.Errorf("invalid %s %q: byte %d is not one of a-z A-Z 0-9 . _ / -", what, s, i)
		}
	}
	parts := strings.Split(s, "/")
	for i, part := range parts {
		last := i == len(parts)-1
		switch {
		case part == "" && (whole || !last):
			return fmt.Errorf("invalid %s %q: part %d is empty", what, s, i)
		case strings.HasPrefix(part, "."):
			return fmt.Errorf("invalid %s %q: part %d begins with '.'", what, s, i)
		case len(part) > maxPart:
			return fmt.Errorf("invalid %s %q: part %d has %d bytes, %d are allowed", what, s, i, len(part), maxPart)
		}
	}
	return nil
}

func allowed(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '.' || c == '_' || c == '/' || c == '-'
}
