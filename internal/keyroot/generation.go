package keyroot

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
