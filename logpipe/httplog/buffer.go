package httplog

import "slices"

// appendKept appends to kept as much of p as the limit allows. expected is the final size as a head states it, or ≤ 0: it
// saves room, but nobody gets memory by stating a size alone.
func appendKept(kept, p []byte, limit int, expected int64) []byte {
	p = p[:min(len(p), limit-len(kept))]
	if need := len(kept) + len(p); need > cap(kept) {
		room := max(need, 2*cap(kept))
		if expected >= int64(need) {
			room = int(min(int64(room), expected))
		}
		kept = slices.Grow(kept, min(room, limit)-len(kept))
	}
	return append(kept, p...)
}
