package counts_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	. "github.com/stelelog/stele/backup/counts"
)

func hour(n int) time.Time {
	return time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Hour)
}

func TestParseExpected(t *testing.T) {
	want := []Expected{{"chat", hour(14), Calls, 1204, 2}, {"chat", hour(15), Records, 0, 4}, {"büro, 2", hour(15), Records, 7, 5}}
	for name, text := range map[string]string{
		"csv":   "service,hour,count,what\nchat,2026-11-28T14:00:00Z,1204,calls\n# a comment\nchat,2026-11-28T16:00:00+01:00,0,\n\"büro, 2\",2026-11-28T15:00:00Z,7,records\n",
		"mixed": "\ufeffwhat, Count ,hour,service\r\ncalls,1204,2026-11-28T14:00:00Z,chat\r\n#\r\n,0,2026-11-28T15:00:00Z,chat\r\n,7,2026-11-28T15:00:00Z,\"büro, 2\"\r\n",
		"json": "\n" + `{"service":"chat","hour":"2026-11-28T14:00:00Z","count":1204,"what":"calls"}` + "\n\n" +
			`{"count":0,"service":"chat","hour":"2026-11-28T15:00:00Z"}` + "\n" + `{"service":"büro, 2","hour":"2026-11-28T15:00:00Z","count":7}`,
	} {
		got, err := ParseExpected([]byte(text))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	const head = "service,hour,count,what\n"
	for text, why := range map[string]string{
		"":                                      "no counts",
		head:                                    "no counts",
		"a,b\n":                                 "line 1",
		"service,hour,count,service\nx,y,z,x\n": "line 1",
		"service,hour\n":                        `no column "count"`,
		head + "chat,2026-11-28T14:00:00Z,1\n":  "line 2",
		head + "\n\nchat,2026-11-28T14:00:00Z,-1,\n":                                                    "line 4",
		head + "chat,2026-11-28T14:30:00Z,1,\n":                                                         "not the start",
		head + "chat,2026-11-28T14:00:00+05:30,1,\n":                                                    "not the start",
		head + "chat,28.11.2026 14:00,1,\n":                                                             "line 2",
		head + ",2026-11-28T14:00:00Z,1,\n":                                                             "line 2",
		head + "chat,2026-11-28T14:00:00Z,1,tokens\n":                                                   "tokens",
		head + "chat,2026-11-28T14:00:00Z,99999999999999999999,\n":                                      "line 2",
		head + "chat,2026-11-28T14:00:00Z,9007199254740993,\n":                                          "2^53",
		head + "a,2026-11-28T14:00:00Z,1,\nb,2026-11-28T14:00:00Z,1,\na,2026-11-28T15:00:00+01:00,2,\n": "line 4 counts records of a in the hour 2026-11-28T14:00:00Z again, after line 2",
		head + "\"chat,2026-11-28T14:00:00Z,1,\n":                                                       "line ",
		`{"service":"chat","hour":"2026-11-28T14:00:00Z"}`:                                              "line 1 has no count",
		`{"service":"chat","hour":"2026-11-28T14:00:00Z","count":-1}`:                                   "line 1",
		`{"service":"chat","hour":"2026-11-28T14:00:00Z","count":1.5}`:                                  "line 1",
		`{"service":"chat","hour":"2026-11-28T14:00:00Z","count":1,"of":"x"}`:                           "of",
		`{"service":"chat","hour":"2026-11-28T14:00:00Z","count":1} {}`:                                 "follows",
		"{\"service\":\"chat\",\"hour\":\"2026-11-28T14:00:00Z\",\"count\":1}\nx":                       "line 2",
		"service,hour,count\n\xff":                                                                      "UTF-8",
		"service,hour,count\n" + strings.Repeat("x", 300) + ",2026-11-28T14:00:00Z,1\n":                 "line 2",
	} {
		if got, err := ParseExpected([]byte(text)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, %v; want an error with %q", text, got, err, why)
		}
	}
}

func FuzzParseExpected(f *testing.F) {
	f.Add("service,hour,count,what\nchat,2026-11-28T14:00:00Z,1204,calls\n")
	f.Add(`{"service":"chat","hour":"2026-11-28T14:00:00Z","count":1204,"what":"calls"}`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseExpected([]byte(text))
		if err == nil && len(got) == 0 {
			t.Error("neither counts nor an error")
		}
		Reconcile(&Inventory{}, got, nil)
	})
}

func span(service string, from, until, records, calls int) Span {
	return Span{Service: service, From: hour(from).Add(time.Minute), Until: hour(until).Add(2 * time.Minute), Records: uint64(records), Calls: uint64(calls)}
}

// line is a row as text: service what hour counted lost sampled expected difference.
func line(r *Row) string {
	expected := "-"
	if r.Expected != nil {
		expected = fmt.Sprint(*r.Expected)
	}
	s := fmt.Sprintf("%s %s %d %d %d %d %s %d", r.Service, r.What, r.Hour.Hour(), r.Counted, r.Lost, r.Sampled, expected, r.Difference)
	if r.Open() {
		s += " open"
	}
	if r.Expired {
		s += " expired"
	}
	return s
}

func TestReconcile(t *testing.T) {
	held := []Held{{"chat", hour(1), 10, 5}, {"chat", hour(2), 10, 5}, {"chat", hour(3), 8, 4}, {"other", hour(1), 3, 1}}
	expect := func(service, what string, from int, counts ...uint64) (out []Expected) {
		for i, n := range counts {
			out = append(out, Expected{Service: service, Hour: hour(from + i), What: what, Count: n})
		}
		return out
	}
	for name, c := range map[string]struct {
		Inventory
		expected []Expected
		known    []Acknowledged
		want     []string
	}{
		"nobody counted": {Inventory{Held: held, Lost: []Span{span("gone", 4, 4, 2, 0)}}, nil, nil,
			[]string{"chat records 1 10 0 0 - 0", "chat records 2 10 0 0 - 0", "chat records 3 8 0 0 - 0", "gone records 4 0 2 0 - 0", "other records 1 3 0 0 - 0"}},
		"equal, short and over": {Inventory{Held: held}, expect("chat", Records, 1, 10, 12, 6), nil,
			[]string{"chat records 1 10 0 0 10 0", "chat records 2 10 0 0 12 -2 open", "chat records 3 8 0 0 6 2"}},
		"calls": {Inventory{Held: held}, expect("chat", Calls, 1, 5, 6), nil,
			[]string{"chat calls 1 5 0 0 5 0", "chat calls 2 5 0 0 6 -1 open", "chat calls 3 4 0 0 - 0"}},
		"a service that was suppressed whole": {Inventory{Held: held}, expect("new", Records, 2, 4), nil, []string{"new records 2 0 0 0 4 -4 open"}},
		"nothing expected, nothing there":     {Inventory{}, expect("chat", Records, 2, 0), nil, []string{"chat records 2 0 0 0 0 0"}},
		"declared": {Inventory{Held: held, Lost: []Span{span("chat", 2, 2, 1, 0)}, Sampled: []Span{span("chat", 3, 3, 4, 2)}},
			append(expect("chat", Records, 1, 10, 12, 12), expect("chat", Calls, 3, 6)...), nil,
			[]string{"chat calls 2 5 1 0 - 0", "chat calls 1 5 0 0 - 0", "chat calls 3 4 0 2 6 0",
				"chat records 1 10 0 0 10 0", "chat records 2 10 1 0 12 -1 open", "chat records 3 8 0 4 12 0"}},
		"declared of another service": {Inventory{Held: held, Lost: []Span{span("other", 2, 2, 5, 0)}}, expect("chat", Records, 2, 12), nil,
			[]string{"chat records 1 10 0 0 - 0", "chat records 2 10 0 0 12 -2 open", "chat records 3 8 0 0 - 0"}},
		"a loss over hours goes where something is missing": {Inventory{Held: held, Lost: []Span{span("chat", 1, 3, 5, 0)}}, expect("chat", Records, 1, 10, 13, 9), nil,
			[]string{"chat records 1 10 0 0 10 0", "chat records 2 10 3 0 13 0", "chat records 3 8 2 0 9 0"}},
		"and hides no more than it says": {Inventory{Held: held, Lost: []Span{span("chat", 1, 3, 2, 0)}}, expect("chat", Records, 1, 10, 13, 9), nil,
			[]string{"chat records 1 10 0 0 10 0", "chat records 2 10 2 0 13 -1 open", "chat records 3 8 0 0 9 -1 open"}},
		"a sample makes a surplus, a loss does not": {Inventory{Held: held, Lost: []Span{span("chat", 1, 1, 9, 0)}, Sampled: []Span{span("chat", 2, 2, 2, 1)}},
			expect("chat", Records, 1, 10, 10), nil, []string{"chat records 1 10 9 0 10 0", "chat records 2 10 0 2 10 2", "chat records 3 8 0 0 - 0"}},
		"a writer that declares without bounds": {Inventory{Held: held, Lost: []Span{{"chat", hour(1), hour(1), math.MaxUint64, 0}, {"chat", hour(1), hour(1), 7, 0}}},
			expect("chat", Records, 1, 12), nil, []string{"chat records 1 10 18446744073709551615 0 12 0", "chat records 2 10 0 0 - 0", "chat records 3 8 0 0 - 0"}},
		"rows that expired": {Inventory{Held: held, Expired: []Span{span("", 0, 2, 100, 0)}}, expect("chat", Records, 1, 11, 11, 9), nil,
			[]string{"chat records 1 10 0 0 11 -1 expired", "chat records 2 10 0 0 11 -1 expired", "chat records 3 8 0 0 9 -1 open"}},
		"taken note of": {Inventory{Held: held}, expect("chat", Records, 1, 12, 12, 12),
			[]Acknowledged{{"chat", hour(1), Records, 2, "known"}, {"chat", hour(2), Records, 1, "fewer"}, {"chat", hour(3), Calls, 9, "calls"}},
			[]string{"chat records 1 10 0 0 12 -2", "chat records 2 10 0 0 12 -2 open", "chat records 3 8 0 0 12 -4 open"}},
	} {
		var got []string
		for _, r := range Reconcile(&c.Inventory, c.expected, c.known) {
			got = append(got, line(&r))
		}
		slices.Sort(c.want)
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

// Whatever was declared: what is explained is never more than that, and what is missing beyond it is open.
func TestReconcileHidesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &Inventory{}
		var expected []Expected
		var short, declared uint64
		for h := range 6 {
			n, held := rapid.Uint64Range(0, 20).Draw(t, "expected"), rapid.Uint64Range(0, 20).Draw(t, "held")
			expected = append(expected, Expected{Service: "chat", Hour: hour(h), What: Records, Count: n})
			c.Held = append(c.Held, Held{Service: "chat", Hour: hour(h), Records: held})
			short += max(n, held) - held
		}
		for range rapid.IntRange(0, 4).Draw(t, "spans") {
			from := rapid.IntRange(0, 5).Draw(t, "from")
			s := span("chat", from, rapid.IntRange(from, 5).Draw(t, "until"), rapid.IntRange(0, 15).Draw(t, "records"), 0)
			declared += s.Records
			if rapid.Bool().Draw(t, "lost") {
				c.Lost = append(c.Lost, s)
			} else {
				c.Sampled = append(c.Sampled, s)
			}
		}
		var open, placed uint64
		rows := Reconcile(c, expected, nil)
		for _, r := range rows {
			if r.Open() {
				open += uint64(-r.Difference)
			}
			placed += r.Lost + r.Sampled
		}
		if placed != declared || open+declared < short || len(rows) != 6 {
			t.Fatalf("%d declared and %d of it placed; %d short and %d open, %d rows", declared, placed, short, open, len(rows))
		}
	})
}
