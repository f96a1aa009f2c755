package event_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/logpipe/event"
)

func TestDecode(t *testing.T) {
	zone := time.FixedZone("", 5*3600+1800)
	for line, want := range map[string]logpipe.Record{
		`{"kind":"input"}`: {Kind: logpipe.Input},
		` { "kind" : "error" , "id":"7", "tenant":"a","subject":"b","session":"c","class":"audit","trace_id":"d","span_id":"e",` +
			`"parent_id":"f","content_type":"g"} `: {Kind: logpipe.Error, CallerID: "7", Tenant: "a", Subject: "b", Session: "c",
			Class: "audit", TraceID: "d", SpanID: "e", ParentID: "f", ContentType: "g"},
		`{"kind":"state","body":"a\n\u0000\ud83d\ude00\/\"<>&\u2028"}`: {Kind: logpipe.State, Body: []byte("a\n\x00😀/\"<>&\u2028")},
		`{"kind":"state","body":"\uFFFD"}`:                             {Kind: logpipe.State, Body: []byte("\uFFFD")},
		`{"kind":"state","body_base64":"/wA="}`:                        {Kind: logpipe.State, Body: []byte{255, 0}},
		`{"kind":"state","body":"","tenant":""}`:                       {Kind: logpipe.State},
		`{"\u006bind":"state"}`:                                        {Kind: logpipe.State},
		`{"kind":"state","attributes":{ "a" : 1.10, "b":[9007199254740993,1e400 , "\ud800"], "a":{}}}`: {Kind: logpipe.State,
			Attributes: []byte(`{"a":1.10,"b":[9007199254740993,1e400,"\ud800"],"a":{}}`)},
		`{"kind":"input","time":"2026-03-01T12:00:00.000000001Z"}`: {Kind: 1, Time: time.Date(2026, 3, 1, 12, 0, 0, 1, time.UTC)},
		`{"kind":"input","time":"2026-03-01T12:00:00.5+05:30"}`:    {Kind: 1, Time: time.Date(2026, 3, 1, 12, 0, 0, 5e8, zone)},
		`{"kind":"input","time":"1677-09-21T00:12:43.145224192Z"}`: {Kind: 1, Time: time.Unix(0, -1<<63).UTC()},
		`{"kind":"input","time":"2262-04-11T23:47:16.854775807Z"}`: {Kind: 1, Time: time.Unix(0, 1<<63-1).UTC()},
		`{"kind":"input","body":"abc","parts":[` + outside(`"at":1`) + `,` + outside(`"at":3`) + `]}`: {Kind: 1, Parts: []logpipe.Part{
			{Data: []byte("a")}, {URI: "u", Size: 9}, {Data: []byte("bc")}, {URI: "u", Size: 9}}},
		`{"kind":"input","parts":[` + outside(`"media_type":"x/y"`) + `]}`: {Kind: 1, Parts: []logpipe.Part{{URI: "u", Size: 9, MediaType: "x/y"}}},
	} {
		got := logpipe.Record{Body: []byte("of before")}
		if err := event.Decode([]byte(line), &got); err != nil {
			t.Errorf("%s: %v", line, err)
		} else if diff := cmp.Diff(normal(want), normal(got)); diff != "" {
			t.Errorf("%s:\n%s", line, diff)
		}
	}
}

func outside(more string) string {
	return `{"uri":"u","sha256":"` + strings.Repeat("0", 64) + `","size":9,` + more + `}`
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ line, field, reason string }{
		{``, "", "is no JSON"},
		{`{"kind":"input"`, "", "is no JSON: unexpected end"},
		{`{"kind":"input"} {}`, "", "is no JSON"},
		{"\xef\xbb\xbf" + `{"kind":"input"}`, "", "is no JSON"},
		{`["kind"]`, "", "is no JSON object"},
		{`null`, "", "is no JSON object"},
		{`{}`, "kind", "is missing"},
		{`{"kind":""}`, "kind", "none of input"},
		{`{"kind":"Input"}`, "kind", `is "Input", none of input`},
		{`{"Kind":"input"}`, "Kind", "no member"},
		{`{"kind":1}`, "kind", "is no string"},
		{`{"kind":null}`, "kind", "is null"},
		{`{"kind":"input","prompt":"x"}`, "prompt", "attributes"},
		{`{"kind":"input","` + strings.Repeat("x", 100) + `":1}`, strings.Repeat("x", 64) + "…", "no member"},
		{`{"kind":"input","kind":"input"}`, "kind", "appears twice"},
		{`{"kind":"input","id":"","id":""}`, "id", "appears twice"},
		{`{"kind":"input","body":"","b\u006fdy":""}`, "body", "appears twice"},
		{`{"kind":"input","body":"","body_base64":""}`, "body_base64", "beside body"},
		{`{"kind":"input","body_base64":"","body":"x"}`, "body_base64", "beside body"},
		{`{"kind":"input","body":{}}`, "body", "is no string"},
		{"{\"kind\":\"input\",\"body\":\"a\xff\"}", "body", "body_base64"},
		{`{"kind":"input","body":"\ud800"}`, "body", "body_base64"},
		{`{"kind":"input","body":"\udc00\ud800"}`, "body", "surrogate"},
		{`{"kind":"input","body":"\ud800\u0041"}`, "body", "surrogate"},
		{"{\"kind\":\"input\",\"tenant\":\"a\xff\"}", "tenant", "no UTF-8"},
		{"{\"kind\":\"input\",\"\xff\":\"a\"}", "?", "no member"},
		{"{\"kind\":\"input\",\"attributes\":{\"\xff\":1}}", "attributes", "no UTF-8"},
		{`{"kind":"input","attributes":[]}`, "attributes", "is no JSON object"},
		{`{"kind":"input","attributes":null}`, "attributes", "is no JSON object"},
		{`{"kind":"input","body_base64":"/wA"}`, "body_base64", "base64"},
		{`{"kind":"input","body_base64":"/wB="}`, "body_base64", "base64"},
		{`{"kind":"input","body_base64":"_wA="}`, "body_base64", "base64"},
		{`{"kind":"input","body_base64":"/w\nA="}`, "body_base64", "line breaks"},
		{`{"kind":"input","time":"yesterday"}`, "time", "RFC 3339"},
		{`{"kind":"input","time":"2026-03-01 12:00:00Z"}`, "time", "RFC 3339"},
		{`{"kind":"input","time":"2026-03-01T2:00:00Z"}`, "time", "RFC 3339"},
		{`{"kind":"input","time":"2026-03-01T12:00:00,5Z"}`, "time", "RFC 3339"},
		{`{"kind":"input","time":"2026-02-30T12:00:00Z"}`, "time", "RFC 3339"},
		{`{"kind":"input","time":"2026-03-01T12:00:00+24:00"}`, "time", "RFC 3339"},
		{`{"kind":"input","time":"2026-03-01t12:00:00z"}`, "time", "RFC 3339"},
		{`{"kind":"input","time":""}`, "time", "RFC 3339"},
		{`{"kind":"input","time":1700000000}`, "time", "is no string"},
		{`{"kind":"input","time":"2026-03-01T12:00:00.1234567890Z"}`, "time", "nine digits"},
		{`{"kind":"input","time":"0001-01-01T00:00:00Z"}`, "time", "year 1;"},
		{`{"kind":"input","time":"1677-09-21T00:12:43.145224191Z"}`, "time", "1677-09-21 to 2262"},
		{`{"kind":"input","time":"2262-04-11T23:47:16.854775808Z"}`, "time", "1677-09-21 to 2262"},
		{`{"kind":"input","parts":{}}`, "parts", "no array"},
		{`{"kind":"input","parts":[1]}`, "parts", "no object"},
		{`{"kind":"input","parts":[{}]}`, "parts.uri", "is missing"},
		{`{"kind":"input","parts":[{"uri":"u","sha256":"00","size":1}]}`, "parts.sha256", "64 lower-case"},
		{`{"kind":"input","parts":[` + outside(`"size":1`) + `]}`, "parts.size", "appears twice"},
		{`{"kind":"input","parts":[` + outside(`"at":-1`) + `]}`, "parts.at", "no number of bytes"},
		{`{"kind":"input","parts":[` + outside(`"at":1.0`) + `]}`, "parts.at", "no number of bytes"},
		{`{"kind":"input","parts":[` + outside(`"data":"x"`) + `]}`, "parts.data", "no member"},
		{`{"kind":"input","parts":[` + outside(`"at":1`) + `]}`, "parts.at", "beyond the end"},
		{`{"kind":"input","body":"abc","parts":[` + outside(`"at":2`) + `,` + outside(`"at":1`) + `]}`, "parts.at", "order"},
	} {
		var r logpipe.Record
		err := event.Decode([]byte(c.line), &r)
		var e *event.Error
		if !errors.As(err, &e) || e.Field != c.field || !strings.Contains(e.Reason, c.reason) {
			t.Errorf("%.120s\n\tis refused with %v, want field %q and %q", c.line, err, c.field, c.reason)
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	for _, c := range []struct {
		field  string
		record logpipe.Record
	}{
		{"kind", logpipe.Record{}},
		{"tenant", logpipe.Record{Kind: 1, Tenant: "\xff"}},
		{"time", logpipe.Record{Kind: 1, Time: time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)}},
		{"attributes", logpipe.Record{Kind: 1, Attributes: []byte(`[]`)}},
		{"attributes", logpipe.Record{Kind: 1, Attributes: []byte(`{"a":}`)}},
		{"attributes", logpipe.Record{Kind: 1, Attributes: []byte("{\"\xff\":1}")}},
		{"body", logpipe.Record{Kind: 1, Body: []byte("x"), Parts: []logpipe.Part{{}}}},
		{"parts", logpipe.Record{Kind: 1, Parts: []logpipe.Part{{URI: "u", Data: []byte("x")}}}},
		{"parts", logpipe.Record{Kind: 1, Parts: []logpipe.Part{{URI: "\xff"}}}},
		{"parts.size", logpipe.Record{Kind: 1, Parts: []logpipe.Part{{URI: "u", Size: -1}}}},
	} {
		dst, err := event.Append([]byte("before"), &c.record)
		var e *event.Error
		if !errors.As(err, &e) || e.Field != c.field || string(dst) != "before" {
			t.Errorf("%+v: %q, %v; want a refusal of %s", c.record, dst, err, c.field)
		}
	}
}

// The examples of the format are what Append writes, byte by byte.
func TestDocumentedExamples(t *testing.T) {
	page, err := os.ReadFile("../../docs/formats/event.md")
	if err != nil {
		t.Fatal(err)
	}
	_, examples, _ := strings.Cut(string(page), "```json\n")
	examples, _, _ = strings.Cut(examples, "```")
	var got []byte
	for r, err := range event.NewReader(strings.NewReader(examples)).All() {
		if err != nil {
			t.Fatal(err)
		}
		if got, err = event.Append(got, &r); err != nil {
			t.Fatal(err)
		}
	}
	// Zeros at the end of a number are kept, those of a time would not be.
	if diff := cmp.Diff(examples, string(got)); diff != "" || len(got) == 0 {
		t.Error(diff)
	}
}

func TestAppendKeepsTheZone(t *testing.T) {
	for _, c := range []struct {
		time time.Time
		want string
	}{
		{time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), `"2026-01-02T03:04:05.000000006Z"`},
		{time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 0)), `"2026-01-02T03:04:05+00:00"`},
		{time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", -1800)), `"2026-01-02T03:04:05-00:30"`},
		{time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3599)), `"2026-01-02T03:03:06+00:59"`}, // the instant stays
		{time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 90000)), `"2026-01-01T02:04:05Z"`},
	} {
		line, err := event.Append(nil, &logpipe.Record{Kind: 1, Time: c.time})
		if want := `{"kind":"input","time":` + c.want + "}\n"; err != nil || string(line) != want {
			t.Errorf("%v: %s, %v; want %s", c.time, line, err, want)
		}
	}
}

func TestReader(t *testing.T) {
	const input = "{\"kind\":\"input\",\"id\":\"a\"}\r\n\n \t\r\n{\"kind\":\"nope\"}\n{\"kind\":\"input\",\"id\":\"b\"}\n{\"kind\":\"output\",\"id\":\"c\"}"
	for name, in := range map[string]io.Reader{
		"whole": strings.NewReader(input), "bytes": iotest.OneByteReader(strings.NewReader(input)), "eof with data": iotest.DataErrReader(strings.NewReader(input)),
	} {
		r := event.NewReader(in)
		var got []string
		var lines []int
		for record, err := range r.All() {
			lines = append(lines, r.Line())
			if err != nil {
				got = append(got, err.Error())
			} else {
				got = append(got, record.CallerID)
			}
		}
		want := []string{"a", `line 4: "kind" is "nope", none of input, output, state, error`, "b", "c"}
		if !slices.Equal(got, want) || !slices.Equal(lines, []int{1, 4, 5, 6}) {
			t.Errorf("%s: %q at %v", name, got, lines)
		}
	}
}

func TestReaderGoesOnAfterAStop(t *testing.T) {
	r := event.NewReader(strings.NewReader("{\"kind\":\"input\"}\n{\"kind\":\"output\"}\n"))
	for range r.All() {
		break
	}
	for record, err := range r.All() {
		if err != nil || record.Kind != logpipe.Output {
			t.Errorf("then comes %v, %v", record, err)
		}
	}
}

func TestReaderReportsFaults(t *testing.T) {
	fault := errors.New("cable cut")
	in := io.MultiReader(strings.NewReader("{\"kind\":\"input\"}\n{\"kind\":\"input\"}"), iotest.ErrReader(fault))
	var records int
	var last error
	for _, err := range event.NewReader(in).All() {
		if last = err; err == nil {
			records++
		}
	}
	if records != 1 || !errors.Is(last, fault) {
		t.Errorf("%d records, then %v; a line that may be torn is none", records, last)
	}
}

func TestReaderBoundsLines(t *testing.T) {
	const most = 200 << 10 // more than a buffer
	exact := []byte(`{"kind":"input","body":"` + strings.Repeat("x", most-len(`{"kind":"input","body":""}`)) + `"}`)
	for _, ending := range []string{"\n", "\r\n"} {
		var in bytes.Buffer
		in.Write(exact)
		in.WriteString(ending)
		in.Write(exact[:len(exact)-2])
		in.WriteString("x\"}" + ending + "{\"kind\":\"output\"}\n")
		in.Write(exact)
		in.WriteString("xxx")
		r := event.NewReader(&in)
		r.SetMax(most)
		var got []string
		for r, err := range r.All() {
			if err != nil {
				got = append(got, err.Error())
			} else {
				got = append(got, r.Kind.String())
			}
		}
		want := []string{"input", "line 2: is longer than 204800 bytes", "output", "line 4: is longer than 204800 bytes"}
		if !slices.Equal(got, want) {
			t.Errorf("%.200q, want %q", got, want)
		}
	}
}

// normal joins the literal bytes between outside references and forgets what nobody can see.
func normal(r logpipe.Record) logpipe.Record {
	if len(r.Body) == 0 {
		r.Body = nil
	}
	if len(r.Attributes) == 0 {
		r.Attributes = nil
	}
	var parts []logpipe.Part
	for _, p := range r.Parts {
		last := len(parts) - 1
		switch {
		case p.URI == "" && len(p.Data) == 0:
		case p.URI == "" && last >= 0 && parts[last].URI == "":
			parts[last].Data = append(bytes.Clone(parts[last].Data), p.Data...)
		default:
			parts = append(parts, p)
		}
	}
	if r.Parts = parts; len(parts) == 1 && parts[0].URI == "" {
		r.Body, r.Parts = parts[0].Data, nil
	}
	return r
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := records.Draw(t, "record")
		line, err := event.Append(nil, &want)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(line, '\n') != len(line)-1 {
			t.Fatalf("not one line: %q", line)
		}
		var got logpipe.Record
		if err := event.Decode(line, &got); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if diff := cmp.Diff(normal(want), normal(got)); diff != "" {
			t.Fatalf("%s\n%s", line, diff)
		}
		if !want.Time.IsZero() && want.Time.Format(time.RFC3339Nano) != got.Time.Format(time.RFC3339Nano) {
			t.Fatalf("%v became %v", want.Time, got.Time)
		}
	})
}

var records = rapid.Custom(func(t *rapid.T) logpipe.Record {
	r := logpipe.Record{Kind: logpipe.Kind(rapid.IntRange(1, 4).Draw(t, "kind"))}
	for _, s := range []*string{&r.CallerID, &r.Tenant, &r.Subject, &r.Session, &r.Class, &r.TraceID, &r.SpanID, &r.ParentID, &r.ContentType} {
		*s = rapid.String().Draw(t, "text")
	}
	if rapid.Bool().Draw(t, "timed") {
		r.Time = time.Unix(0, rapid.Int64().Draw(t, "time")).UTC()
		if rapid.Bool().Draw(t, "zoned") {
			r.Time = r.Time.In(time.FixedZone("", 60*rapid.IntRange(-1439, 1439).Draw(t, "offset")))
		}
	}
	r.Attributes = []byte(rapid.SampledFrom([]string{"", "{}", `{"a":1.10,"a":"\u003c<\ud800"}`, `{"x":[null,1e999,-0.0]}`}).Draw(t, "attributes"))
	if rapid.Bool().Draw(t, "whole") {
		r.Body = body.Draw(t, "body")
		return r
	}
	r.Parts = rapid.SliceOf(rapid.Custom(func(t *rapid.T) logpipe.Part {
		if rapid.Bool().Draw(t, "literal") {
			return logpipe.Part{Data: body.Draw(t, "data")}
		}
		p := logpipe.Part{URI: "x" + rapid.String().Draw(t, "uri"), Size: rapid.Int64Min(0).Draw(t, "size"), MediaType: rapid.String().Draw(t, "type")}
		copy(p.SHA256[:], body.Draw(t, "digest"))
		return p
	})).Draw(t, "parts")
	return r
})

var body = rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) }))

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"kind":"input","time":"2026-03-01T12:00:00.5+05:30","attributes":{"a":[1.10,{}]},"body":"\ud83d\ude00\n"}`,
		`{"kind":"error","body_base64":"/wA=","id":"x"}`, `{"kind":"input","body":"abc","parts":[` + outside(`"at":1`) + `]}`,
		`{"kind":"input","body":"\ud800"}`, `{"kind":null}`, `{"kind":"input",}`, "{\"\xff\":[[\"]\"]]}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var r, again logpipe.Record
		if err := event.Decode(line, &r); err != nil {
			var e *event.Error
			if !errors.As(err, &e) || e.Reason == "" {
				t.Fatalf("%#v", err)
			}
			return
		}
		out, err := event.Append(nil, &r)
		if err != nil {
			t.Fatalf("%q was taken and cannot be written: %v", line, err)
		}
		if err := event.Decode(out, &again); err != nil {
			t.Fatalf("%q was written as %q: %v", line, out, err)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Fatalf("%q became %q:\n%s", line, out, diff)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	line := []byte(`{"kind":"output","time":"2026-03-01T12:00:00.5Z","session":"s","attributes":{"gen_ai.request.model":"m"},"body":"` + strings.Repeat("some text\\n ", 100) + `"}`)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	var r logpipe.Record
	for b.Loop() {
		if err := event.Decode(line, &r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	r := logpipe.Record{Kind: 1, Time: time.Now(), Session: "s", Attributes: []byte(`{"a":1}`), Body: bytes.Repeat([]byte("some text\n "), 100)}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = event.Append(dst[:0], &r)
	}
	b.SetBytes(int64(len(dst)))
}
