package backup_test

import (
	"testing"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyscope"
)

// TestUnequalLogs verifies a long log and short ones in one go: they share their working memory.
func TestUnequalLogs(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	a.policy(func(p *control.Policy) { p.Partitions = 3 })
	keys := a.keys()
	for p, n := range []int{300, 3, 40} {
		s := a.stream(keyscope.Link{})
		s.partition = uint32(p)
		s.recertify(func(c *keyscope.Cert) { c.Partition = uint32(p) })
		s.send(some(n)...)
		s.close()
	}
	a.once(keys)
	report := a.verify(VerifyOptions{Reader: a.reader(keys)})
	wantExit(t, report, 0, "integrity", "completeness", "readability")
	if report.Opened != 343 || len(report.Logs) != 3 {
		t.Errorf("opened %d records of %d logs, want 343 of 3", report.Opened, len(report.Logs))
	}
}
