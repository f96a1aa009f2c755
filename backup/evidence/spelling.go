package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/stelelog/stele/internal/commit"
)

// maxDepth is how deep the values of an entry nest at most: readers in other languages stop somewhere, too.
const maxDepth = 64

var errSpelling = errors.New("JSON that is not written as it must be")

// spelled checks that JSON of whatever members is written in the one way: there are entries whose body nobody here reads, and others might.
func spelled(raw []byte) error {
	s := speller{dec: json.NewDecoder(bytes.NewReader(raw))}
	s.dec.UseNumber()
	if err := s.value(maxDepth - 1); err != nil {
		return err
	}
	if !bytes.Equal(s.out, raw) {
		return errSpelling
	}
	return nil
}

// speller writes JSON anew.
type speller struct {
	dec *json.Decoder
	out []byte
}

func (s *speller) value(depth int) error {
	t, err := s.dec.Token()
	if err != nil {
		return err
	}
	switch v := t.(type) {
	case json.Delim:
		if depth == 0 {
			return fmt.Errorf("JSON that nests deeper than %d", maxDepth)
		}
		return s.list(byte(v), depth-1)
	case json.Number:
		s.out = append(s.out, v...)
		return whole(string(v))
	default:
		return s.plain(t)
	}
}

// list writes the members of an object, or the elements of an array.
func (s *speller) list(open byte, depth int) error {
	seen := map[string]bool{}
	s.out = append(s.out, open)
	for n := 0; s.dec.More(); n++ {
		if n > 0 {
			s.out = append(s.out, ',')
		}
		if open == '{' {
			name, err := s.dec.Token()
			if err != nil {
				return err
			}
			text, _ := name.(string)
			if seen[text] {
				return errSpelling
			}
			seen[text] = true
			if err := s.plain(name); err != nil {
				return err
			}
			s.out = append(s.out, ':')
		}
		if err := s.value(depth); err != nil {
			return err
		}
	}
	_, err := s.dec.Token()
	s.out = append(s.out, open+2) // } stands two behind {, and ] behind [
	return err
}

func (s *speller) plain(v any) error {
	text, err := commit.MarshalLine(v)
	s.out = append(s.out, bytes.TrimSuffix(text, []byte("\n"))...)
	return err
}

// whole checks that a number is a whole one that fits into 64 bits, in its shortest form.
func whole(text string) error {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(n, 10) == text {
		return nil
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil && strconv.FormatUint(n, 10) == text {
		return nil
	}
	return errSpelling
}
