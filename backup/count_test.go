package backup_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/counts"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/spool"
)

// sendAt makes and sends a frame of records of these times. Every second one closes a call.
func (s *testStream) sendAt(times ...time.Time) {
	s.t.Helper()
	d := s.draft(some(len(times))...)
	rows := d.Rows[len(d.Rows)-len(times):]
	for i, at := range times {
		rows[i].Leaf.Time = at.UnixNano()
		if i%2 == 1 {
			rows[i].Leaf.Flags |= record.ClosesCall
		}
	}
	s.append(spool.Frames, s.encode(d))
}

// Records are counted in the hour of their time, whenever they came, and what writers declare beside them.
func TestCount(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	h := counts.Hour(time.Now()).Add(-12 * time.Hour)
	in := func(hours int, minutes time.Duration) time.Time {
		return h.Add(time.Duration(hours)*time.Hour + minutes*time.Minute)
	}
	s := a.stream(keyscope.Link{})
	s.sendAt(in(0, 0), in(0, 59), in(1, 0), in(1, 1))
	a.once(keys)
	s.sendAt(in(2, 30), in(0, 30)) // the second one comes late
	s.leaf(record.Loss, record.LossDetail{Count: 3, Reason: record.MemoryFull, From: in(1, 5).UnixNano(), Until: in(1, 6).UnixNano()}.Append(nil))
	s.leaf(record.Sampled, record.SampledDetail{Calls: 2, Records: 5, From: in(2, 0).UnixNano(), Until: in(2, 6).UnixNano()}.Append(nil))
	s.close()
	a.once(keys)

	all, err := a.open().Count(t.Context(), time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all.Held, func(x, y counts.Held) int { return x.Hour.Compare(y.Hour) })
	held := func(hours int, records, calls uint64) counts.Held {
		return counts.Held{Service: "default", Hour: in(hours, 0), Records: records, Calls: calls}
	}
	want := []counts.Held{held(0, 3, 2), held(1, 2, 1), held(2, 1, 0)}
	if !slices.Equal(all.Held, want) || len(all.Expired) > 0 {
		t.Errorf("%+v, want %+v", all.Held, want)
	}
	if len(all.Lost) != 1 || all.Lost[0].Records != 3 || len(all.Sampled) != 1 || all.Sampled[0].Calls != 2 || all.Sampled[0].Records != 5 || all.Sampled[0].Service != "default" {
		t.Errorf("declared: %+v, %+v", all.Lost, all.Sampled)
	}
	one, err := a.open().Count(t.Context(), in(1, 0), in(2, 0))
	if err != nil || len(one.Held) != 1 || one.Held[0] != want[1] || len(one.Lost) != 1 || len(one.Sampled) != 0 {
		t.Errorf("one hour: %+v, %v", one, err)
	}
	before, err := a.open().Count(t.Context(), in(-100, 0), in(-90, 0))
	if err != nil || len(before.Held) != 0 || before.Segments != 0 {
		t.Errorf("an hour of which there is nothing: %+v, %v", before, err)
	}
	a.acknowledgesHour()
}

// acknowledgesHour takes note of what an hour lacks; what says nothing that could be meant has no effect.
func (a *testArchive) acknowledgesHour() {
	a.t.Helper()
	h := counts.Hour(time.Now())
	r := a.reader(nil)
	known := counts.Acknowledged{Service: "default", Hour: h, What: counts.Calls, Missing: 7, Reason: "known"}
	for _, k := range []counts.Acknowledged{known, {Service: "default", Hour: h, What: "tokens", Missing: 7}, {Service: "default", Hour: h, What: counts.Calls},
		{Hour: h, What: counts.Calls, Missing: 7}} {
		if err := r.AcknowledgeHour(a.t.Context(), k); err != nil {
			a.t.Fatal(err)
		}
	}
	a.once(nil)
	if got := a.open().Acknowledged(); !slices.Equal(got, []counts.Acknowledged{known}) {
		a.t.Errorf("acknowledged: %+v", got)
	}
}

// Rows that are gone, and did not expire, cannot be counted.
func TestCountWithoutRows(t *testing.T) {
	a, store, _, _ := built(t)
	for _, key := range keysOf(t, store, a.log()+"objects/") {
		if strings.HasSuffix(key, ".index.arrow") {
			for v, err := range store.Versions(t.Context(), key, "") {
				if err != nil {
					t.Fatal(err)
				}
				store.Remove(v.Key, v.ID)
			}
			break
		}
	}
	if c, err := a.open().Count(t.Context(), time.Time{}, time.Time{}); err == nil {
		t.Errorf("an index is missing and it counts %+v", c)
	}
}
