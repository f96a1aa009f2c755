package control

import "reflect"

// Same reports whether two states amount to the same. Objects may be cut otherwise; without listed, the entries may be
// others where these have no effect.
func Same(a, b *State, listed bool) bool {
	strip := func(s State) State {
		s.log, s.root, s.places, s.roots = nil, nil, nil, nil
		if !listed {
			s.Listed, s.known, s.levels, s.Former = nil, nil, nil, nil
			s.frontier = b.frontier
		}
		return s
	}
	return a.Size() == b.Size() && reflect.DeepEqual(strip(*a), strip(*b))
}
