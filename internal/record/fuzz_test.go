package record

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func sampleLeaves() []Leaf {
	return []Leaf{
		{Type: Plain, Kind: 2, Flags: PipeTime | NamedClass, Seq: 7, Time: -1, Slot: 3, Class: "default",
			Clear: Clear{"chat", "openai", "m-1", "stop", "", "r7"}, Buckets: [4]uint8{11, 7, 9, 0}, Digest: [32]byte{1}, Commitment: [32]byte{2}},
		{Type: Piece, Kind: 1, Class: "state", Seq: None - 1, ID: [16]byte{9}, Scope: [16]byte{8}},
		{Type: Open, Class: "default", Detail: []byte("certificate"), Clear: Clear{strings.Repeat("s", 255)}},
		{Type: Loss, Class: "audit", Seq: 1, Detail: LossDetail{Count: 3, Reason: Refused, After: None}.Append(nil)},
	}
}

// A leaf has one spelling, which Parse takes and Append gives.
func FuzzParse(f *testing.F) {
	for _, l := range sampleLeaves() {
		f.Add(l.Append(nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Parse(data)
		if err != nil {
			return
		}
		if again := l.Append(nil); !bytes.Equal(again, data) {
			t.Fatalf("%x comes back as %x", data, again)
		}
		if err := l.Check(); err != nil {
			t.Fatalf("a leaf that was read is bad: %v", err)
		}
	})
}

func TestSampleLeavesAreGood(t *testing.T) {
	for _, l := range sampleLeaves() {
		if got, err := Parse(l.Append(nil)); err != nil || got.Type != l.Type || got.Clear != l.Clear || string(got.Detail) != string(l.Detail) {
			t.Errorf("%+v: %+v, %v", l, got, err)
		}
	}
}

func FuzzDetails(f *testing.F) {
	f.Add(LossDetail{1, TooLarge, 2, 3, 4}.Append(nil))
	f.Add(CloseDetail{1, 2, 3}.Append(nil))
	f.Add(SampledDetail{1, 2, 3, 4}.Append(nil))
	f.Add(RecoveredDetail{[16]byte{1}, 2, [32]byte{3}}.Append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		read := 0
		same := func(again []byte, err error) {
			if err == nil {
				read++
				if !bytes.Equal(again, data) {
					t.Fatalf("%x comes back as %x", data, again)
				}
			}
		}
		loss, err := ParseLoss(data)
		same(loss.Append(nil), err)
		closed, err := ParseClose(data)
		same(closed.Append(nil), err)
		sampled, err := ParseSampled(data)
		same(sampled.Append(nil), err)
		recovered, err := ParseRecovered(data)
		same(recovered.Append(nil), err)
		if read > 1 {
			t.Fatalf("%d kinds of detail have %d bytes", read, len(data))
		}
	})
}

// What is taken from attributes into the clear is what encoding/json finds there, and never what is not harmless.
func FuzzFacts(f *testing.F) {
	for _, s := range []string{`{}`, `{"gen_ai.operation.name":"chat","gen_ai.request.model":"m-1","gen_ai.usage.input_tokens":120}`,
		` { "gen_ai.response.model" : "m 1" , "gen_ai.request.model":"m" } `, `{"gen_ai.response.finish_reasons":["stop","x"],"error.type":null}`,
		`{"gen_ai.response.finish_reasons":[["]",{"}":1}],2],"service.version":"r/7@1"}`, `{"gen_ai.client.operation.duration":1.5e0,"a":{"b":[1,"}"]}}`,
		`{"gen_ai.response.finish_reasons":[],"gen_ai.usage.output_tokens":-1e400}`, `{"error.type":"` + strings.Repeat("x", 65) + `"}`, `[1]`, `{"a":`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		var dst bytes.Buffer
		if CompactAttributes(&dst, object) != nil {
			return
		}
		facts := ReadFacts(dst.Bytes())
		for _, s := range facts.Clear {
			if len(s) > 64 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/@+-~") != "" {
				t.Fatalf("%q stands in the clear", s)
			}
		}
		if bytes.IndexByte(object, '\\') >= 0 { // a name may be spelled in another way
			return
		}
		members := map[string]json.RawMessage{}
		if err := json.Unmarshal(dst.Bytes(), &members); err != nil {
			t.Fatal(err)
		}
		for place, name := range map[int]string{Operation: "gen_ai.operation.name", Provider: "gen_ai.provider.name",
			ErrorType: "error.type", Release: "service.version"} {
			if want := clearValue(members[name]); facts.Clear[place] != want {
				t.Fatalf("%s is %q, want %q", name, facts.Clear[place], want)
			}
		}
		if want := count(members["gen_ai.usage.input_tokens"], 1); facts.InputTokens != want {
			t.Fatalf("%d input tokens, want %d", facts.InputTokens, want)
		}
		var reasons []json.RawMessage
		if json.Unmarshal(members["gen_ai.response.finish_reasons"], &reasons) == nil && len(reasons) > 0 {
			if want := clearValue(reasons[0]); facts.Clear[Finish] != want {
				t.Fatalf("finish reason %q, want %q", facts.Clear[Finish], want)
			}
		}
	})
}
