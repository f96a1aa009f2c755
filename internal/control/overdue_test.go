package control_test

import (
	"strings"
	"testing"
	"time"

	. "github.com/stelelog/stele/internal/control"
)

// An approved request that nobody carries out is overdue after a day, unless the log knows a reason: also if it is called left,
// held or retained, and is not.
func TestOverdue(t *testing.T) {
	const day = 24 * time.Hour
	until := func(d time.Duration) *time.Time { at := epoch.Add(d); return &at }
	for name, test := range map[string]struct {
		said          []Outcome
		hold, release bool // released after ten days
		due           time.Duration
		problem, why  string
	}{
		"nothing said":       {nil, false, false, 0, "", "no key service has said anything"},
		"a custodian":        {[]Outcome{{Problem: "custodian"}}, false, false, 0, "custodian", "for: custodian"},
		"left":               {[]Outcome{{Erased: 5, Left: 7}}, false, false, 0, "", "7 of its scopes are left"},
		"held":               {[]Outcome{{Held: 2}}, true, false, -1, "", ""},
		"held no more":       {[]Outcome{{Held: 2}}, true, true, 10 * day, "", "no hold stands"},
		"never held":         {[]Outcome{{Held: 2}}, false, false, 0, "", "no hold stands"},
		"retained":           {[]Outcome{{Retained: 3, Until: until(20 * day)}}, false, false, 20 * day, "", "is over"},
		"retained for ever":  {[]Outcome{{Retained: 3, Until: until(2000 * day)}}, false, false, 184 * day, "", "is over"},
		"retained until ...": {[]Outcome{{Retained: 3}}, false, false, 0, "", ""},
		"done":               {[]Outcome{{Left: 4, Erased: 1}, {Erased: 4}}, false, false, -1, "", ""},
		"nothing to do":      {[]Outcome{{Nothing: true}}, false, false, -1, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t).dual()
			id := w.must(w.sign(anna, TypeRequest, w.erase()))
			w.must(w.approve(anna, id))
			w.must(w.approve(bert, id))
			if test.hold {
				hold := w.must(w.sign("holder/legal", TypeHold, HoldBody{*w.selection()}))
				if test.release {
					w.now = epoch.Add(10 * day)
					r := w.must(w.sign("holder/legal", TypeRequest, RequestBody{What: WhatRelease, Until: w.now.Add(time.Hour), Hold: &hold}))
					w.must(w.approve(anna, r))
					w.must(w.approve(bert, r))
				}
			}
			for _, o := range test.said {
				o.Request = id
				w.must(w.sign("keyservice/default", TypeOutcome, o))
			}
			if test.due < 0 {
				if all := w.state.Overdue(epoch.Add(3000 * day)); len(all) > 0 {
					t.Fatalf("%+v", all)
				}
				return
			}
			if all := w.state.Overdue(epoch.Add(test.due + Patience)); len(all) > 0 {
				t.Errorf("overdue before its time: %+v", all)
			}
			all := w.state.Overdue(epoch.Add(test.due + Patience + time.Second))
			if len(all) != 1 || all[0].Request != id || all[0].Problem != test.problem || !strings.Contains(all[0].Why, test.why) || !all[0].Since.Equal(epoch.Add(test.due)) {
				t.Errorf("%+v", all)
			}
		})
	}
}
