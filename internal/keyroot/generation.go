package keyroot

import "time"

// Generation is a row of records under one top key.
type Generation struct {
	Number uint64
	First  uint64 // number of its first record
	Sets   [][]string
}

// Watermark returns the least generation that is not dead, as dead says. The newest one is never dead.
func Watermark(generations []Generation, dead func(g *Generation) bool) uint64 {
	for i := range generations {
		if i == len(generations)-1 || !dead(&generations[i]) {
			return generations[i].Number
		}
	}
	return 0
}

// GoneFrom returns the time from which on a key is gone that lived in the generations from entered to left−1: the
// latest at which one of them is dead. ok is false while one lives, or if there is no such time for one.
func GoneFrom(generations []Generation, entered, left uint64, deadFrom func(g *Generation) (time.Time, bool)) (from time.Time, ok bool) {
	known := uint64(0)
	for i := range generations {
		g := &generations[i]
		if g.Number < entered || g.Number >= left {
			continue
		}
		at, dead := deadFrom(g)
		if !dead || i == len(generations)-1 {
			return time.Time{}, false
		}
		if at.After(from) {
			from = at
		}
		known++
	}
	return from, left > entered && known == left-entered
}
