package control_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/commit"
	. "github.com/stelelog/stele/internal/control"
)

func TestRefusals(t *testing.T) {
	w := newWorld(t).dual()
	id := w.must(w.sign(anna, TypeRequest, w.erase()))
	w.must(w.approve(anna, id))
	twice := w.signAt(anna, TypeApprove, w.now.Add(time.Second), Decision{Request: id})
	good := w.approve(bert, id)
	for name, c := range map[string]struct{ entry, by, why string }{
		"twice":          {twice, "test/approver/anna", "twice"},
		"wrong role":     {w.approve("reader/reader", id), "test/reader/reader", "role"},
		"stranger":       {w.approve("approver/nobody", id), "", "altered"},
		"altered":        {strings.Replace(good, id.String(), commit.Hex32{9}.String(), 1), "", "altered"},
		"other encoding": {good + "— test/approver/bert AAAAAAAA\n", "", "altered"},
	} {
		r, ok := w.state.Refuse(c.entry, w.now)
		if !ok || r.By != c.by || r.Why != c.why || r.Type != TypeApprove || r.Entry != commit.Hash([]byte(c.entry)) {
			t.Errorf("%s: %+v %v", name, r, ok)
		}
	}
	early := w.approve(bert, commit.Hex32{9})
	if _, ok := w.state.Refuse(early, w.now.Add(9*time.Minute)); ok {
		t.Error("an entry that may only be early is refused")
	}
	if r, ok := w.state.Refuse(early, w.now.Add(11*time.Minute)); !ok || r.Why != "unknown" {
		t.Errorf("an entry that names nothing is not refused: %+v", r)
	}
	for name, entry := range map[string]string{"good": good, "rubbish": "rubbish", "heads": w.sign("reader/reader", TypeHeads, Heads{})} {
		if r, ok := w.state.Refuse(entry, w.now); ok {
			t.Errorf("%s is refused: %+v", name, r)
		}
	}
	r, _ := w.state.Refuse(twice, w.now)
	w.must(w.sign("compactor/default", TypeRefusal, r))
	if _, ok := w.state.Refuse(twice, w.now); ok {
		t.Error("refused a second time")
	}
	w.wrong("role", w.sign(anna, TypeRefusal, Refusal{Entry: commit.Hex32{1}}))
}

// TestRefusalsAreBounded: neither an author nor a stranger fills the log.
func TestRefusalsAreBounded(t *testing.T) {
	w := newWorld(t).dual()
	logged := func(by string) (n int) {
		for i := range 60 {
			e := w.signAt(by, TypeApprove, w.now.Add(-time.Duration(i)*time.Hour), Decision{Request: commit.Hex32{1}})
			if r, ok := w.state.Refuse(e, w.now); ok {
				w.must(w.sign("compactor/default", TypeRefusal, r))
				n++
			} else if i > 40 { // a sequencer that does not care
				w.now = w.now.Add(time.Nanosecond)
				w.add(w.sign("compactor/default", TypeRefusal, r))
			}
		}
		return n
	}
	if n := logged("reader/reader"); n != 16 {
		t.Errorf("%d refusals of one author in a day", n)
	}
	if n := logged("approver/nobody"); n != 4 {
		t.Errorf("%d refusals of a stranger in a day", n)
	}
	w.now = w.now.Add(24 * time.Hour)
	if n := logged("reader/reader"); n != 16 {
		t.Errorf("%d refusals on the next day", n)
	}
}
