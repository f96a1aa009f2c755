package compact

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/segment"
)

// quarantineQuota bounds the messages that a segment keeps; past it only their digests are listed.
const quarantineQuota = 1 << 20

// maxSetAside is how many messages are set aside in a segment; one with so many is full.
const maxSetAside = 10_000

// setAside is a message that is no valid frame of an authentic stream.
type setAside struct {
	segment.SetAside
	data []byte // nil past the quota
}

// setAside keeps a message for those who will look into it. It turns no verdict red by itself: anybody who can reach
// the transport can put rubbish into it.
func (w *worker) setAside(lane string, m message, reason error) {
	q := setAside{SetAside: segment.SetAside{Lane: lane, Offset: m.Pos, Time: m.Time.UTC(), Reason: reason.Error(), Length: len(m.Data), SHA256: sha256.Sum256(m.Data)}}
	if w.batch.kept+len(m.Data) <= quarantineQuota {
		q.data = bytes.Clone(m.Data)
		w.batch.kept += len(m.Data)
	}
	if w.batch.started.IsZero() {
		w.batch.started = w.c.now()
	}
	w.batch.set = append(w.batch.set, q)
	short := shortReason(q.Reason)
	if _, ok := w.batch.reasons[short]; !ok && len(w.batch.reasons) >= control.MaxReasons {
		short = "other"
	}
	w.batch.reasons[short]++
	w.c.stats.quarantined.Add(1)
	w.log.Warn("message set aside", "lane", lane, "offset", m.Pos, "reason", q.Reason)
}

// shortReason is the reason without what varies, so that counts by reason stay few.
func shortReason(reason string) string {
	head, _, _ := strings.Cut(reason, ":")
	if len(head) > 80 {
		head = head[:80]
	}
	return head
}

// quarantine writes the quarantine object of the segment.
func (w *worker) quarantine() ([]byte, error) {
	key, err := w.c.newestReadKey()
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, q := range w.batch.set {
		if q.data != nil {
			if q.Sealed, err = keyscope.SealQuarantine(key, w.c.trust.Archive, q.data); err != nil {
				return nil, fmt.Errorf("quarantine: %w", err)
			}
		}
		if out, err = segment.AppendSetAside(out, &q.SetAside); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// found reports what a chain of commits holds that no honest writer leaves, once per finding.
func (c *Compactor) found(log string, f chain.Finding) {
	c.notice(control.TypeDivergence, control.Divergence{Log: log, Kind: string(f.Kind), Detail: f.Error()})
}
