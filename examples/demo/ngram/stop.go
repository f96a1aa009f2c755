package ngram

import "strings"

// stopper holds tokens back while their text may still turn out to be the
// beginning of a stop string.
type stopper struct {
	stops []string
	held  []Token
	text  string // of held
}

// push adds a token and returns those that are safe to give out, valid until
// the next push. When a stop string was met, the last of them ends before it and
// has FinishStop.
func (s *stopper) push(t Token) []Token {
	if len(s.stops) == 0 {
		s.held = append(s.held[:0], t)
		return s.held
	}
	s.held = append(s.held, t)
	s.text += t.Text
	if at, ok := s.find(); ok {
		return s.cut(at)
	}
	if t.Finish != "" {
		return s.release(len(s.held))
	}
	safe, n := len(s.text)-s.partial(), 0
	for length := 0; n < len(s.held); n++ {
		if length += len(s.held[n].Text); length > safe {
			break
		}
	}
	return s.release(n)
}

// find returns where the first stop string begins.
func (s *stopper) find() (at int, ok bool) {
	at = len(s.text)
	for _, stop := range s.stops {
		if i := strings.Index(s.text, stop); i >= 0 && i < at {
			at, ok = i, true
		}
	}
	return at, ok
}

// partial is the length of the longest end of the text that begins a stop
// string.
func (s *stopper) partial() int {
	longest := 0
	for _, stop := range s.stops {
		for n := min(len(stop)-1, len(s.text)); n > longest; n-- {
			if strings.HasSuffix(s.text, stop[:n]) {
				longest = n
			}
		}
	}
	return longest
}

// release takes the first n tokens out.
func (s *stopper) release(n int) []Token {
	out := s.held[:n:n]
	s.held = s.held[n:]
	for _, t := range out {
		s.text = s.text[len(t.Text):]
	}
	return out
}

// cut returns the tokens before position at of the text, the last one cut.
func (s *stopper) cut(at int) []Token {
	length := 0
	for i := range s.held {
		t := &s.held[i]
		if length+len(t.Text) >= at {
			t.Text = t.Text[:at-length]
			t.Finish = FinishStop
			return s.held[:i+1]
		}
		length += len(t.Text)
	}
	return s.held
}
