package tips

import "github.com/stelelog/stele/internal/commit"

// Tip returns the tip of a stream.
func (t *Table) Tip(stream [16]byte) (commit.Tip, bool) {
	if s := t.streams[stream]; s != nil {
		return s.Tip, true
	}
	return commit.Tip{}, false
}
