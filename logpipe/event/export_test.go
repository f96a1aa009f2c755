package event

// SetMax sets the longest line, in bytes.
func (r *Reader) SetMax(n int) { r.max = n }
