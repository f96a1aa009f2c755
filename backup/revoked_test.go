package backup_test

import (
	"testing"
	"time"

	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyscope"
)

// A writer that is revoked goes on with the streams that it has opened. What it sends there is archived, and can be read.
func TestRevokedWriterGoesOn(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	s := a.stream(keyscope.Link{})
	records := some(20)
	s.send(records[:10]...)
	a.once(keys)
	a.policy(func(p *control.Policy) { now := time.Now(); p.Writers[0].Revoked = &now })
	s.send(records[10:]...)
	s.close()
	a.once(keys)
	a.intact(keys, records)
}
