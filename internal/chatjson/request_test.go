package chatjson_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stelelog/stele/internal/chatjson"
)

func parts(body string) []string {
	var out []string
	for _, p := range chatjson.ParseRequest([]byte(body)).Parts {
		out = append(out, string(p))
	}
	return out
}

func TestParts(t *testing.T) {
	long := `"` + strings.Repeat("s", 300) + `"`
	for _, c := range []struct {
		name, body string
		want       []string
	}{
		{"one message", `{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}`,
			[]string{`{"model":"m","messages":[`, `{"role":"user","content":"hi"}`, `],"stream":true}`}},
		{"comma goes with the message that follows", `{"messages":[{"a":1},{"b":2} , {"c":"]}"}]}`,
			[]string{`{"messages":[`, `{"a":1}`, `,{"b":2}`, ` , {"c":"]}"}`, `]}`}},
		{"white space", "\n{ \"messages\" : [ {} ,\n{ } ] }\n", []string{"\n{ \"messages\" : [", " {}", " ,\n{ }", " ] }\n"}},
		{"responses", `{"input":[{"role":"user"},{"type":"function_call_output"}],"model":"m"}`,
			[]string{`{"input":[`, `{"role":"user"}`, `,{"type":"function_call_output"}`, `],"model":"m"}`}},
		{"input of text", `{"input":["a","b"],"model":"m"}`, []string{`{"input":["a","b"],"model":"m"}`}},
		{"mixed list", `{"input":["a",{"b":1},7,{"c":2},8]}`, []string{`{"input":[`, `"a",{"b":1}`, `,7,{"c":2}`, `,8]}`}},
		{"system and tools", `{"system":` + long + `,"messages":[{}],"tools":[` + long + `]}`,
			[]string{`{"system":`, long, `,"messages":[`, `{}`, `],"tools":`, `[` + long + `]`, `}`}},
		{"small tools stay", `{"tools":[{}],"messages":[{}]}`, []string{`{"tools":[{}],"messages":[`, `{}`, `]}`}},
		{"no messages", `{"messages":[]}`, []string{`{"messages":[]}`}},
		{"messages of another kind", `{"messages":{"a":[{}]}}`, []string{`{"messages":{"a":[{}]}}`}},
		{"nested messages stay whole", `{"x":{"messages":[{}]}}`, []string{`{"x":{"messages":[{}]}}`}},
		{"cut", `{"messages":[{"a":1},{"b":2}`, []string{`{"messages":[{"a":1},{"b":2}`}},
		{"bad tail", `{"messages":[{"a":1}]}}`, []string{`{"messages":[{"a":1}]}}`}},
		{"no object", `[{"messages":[{}]}]`, []string{`[{"messages":[{}]}]`}},
		{"text", "hello", []string{"hello"}},
		{"empty", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, parts(c.body)); d != "" {
				t.Error(d)
			}
		})
	}
}

// The content of a long message is a part of its own, however long: an answer comes back as such a content.
func TestContentIsOnePart(t *testing.T) {
	content := strings.Repeat(`x\n`, 1<<20)
	got := parts(`{"messages":[{"content":"` + content + `"}]}`)
	if d := cmp.Diff([]string{`{"messages":[`, `{"content":"`, content, `"}`, `]}`}, got); d != "" {
		t.Errorf("%d parts", len(got))
	}
	answer := []byte(`{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"` + content + `"}}]} `)
	split := chatjson.ResponseParts(answer)
	if !bytes.Equal(bytes.Join(split, nil), answer) || len(split) != 3 || string(split[1]) != content {
		t.Errorf("the answer has %d parts", len(split))
	}
	for _, foreign := range []string{`data: {}`, `{"choices":[{"message":{"content":"` + content, `[]`, `x`} {
		if got := chatjson.ResponseParts([]byte(foreign)); len(got) != 1 || string(got[0]) != foreign {
			t.Errorf("%.20s: %d parts", foreign, len(got))
		}
	}
}

func TestPartsAreBounded(t *testing.T) {
	body := []byte(`{"messages":[` + strings.Repeat(`{},`, 3*chatjson.MaxParts) + `{}]}`)
	got := chatjson.ParseRequest(body).Parts
	if len(got) > chatjson.MaxParts || !bytes.Equal(bytes.Join(got, nil), body) {
		t.Errorf("%d parts of %d bytes", len(got), len(bytes.Join(got, nil)))
	}
}

// A conversation that is sent again with more messages repeats the parts that it had.
func TestTurnsSharePartsAsPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		space := rapid.SampledFrom([]string{"", " ", "\n\t"}).Draw(t, "space")
		key := rapid.SampledFrom([]string{"messages", "input", "contents"}).Draw(t, "key")
		text := rapid.String()
		message := rapid.Custom(func(t *rapid.T) string {
			raw, _ := json.Marshal(map[string]any{"role": "user", "content": text.Draw(t, "content")})
			return string(raw)
		})
		messages := rapid.SliceOfN(message, 2, 12).Draw(t, "messages")
		n := rapid.IntRange(1, len(messages)-1).Draw(t, "turn")
		body := func(list []string) string {
			return fmt.Sprintf(`{"model":"m","%s":%s[%s]%s,"n":1}`, key, space, strings.Join(list, space+","+space), space)
		}
		before, after := parts(body(messages[:n])), parts(body(messages))
		if len(before) != n+2 || len(after) != len(messages)+2 {
			t.Fatalf("%d and %d parts for %d and %d messages", len(before), len(after), n, len(messages))
		}
		if d := cmp.Diff(before[:n+1], after[:n+1]); d != "" {
			t.Fatal(d)
		}
	})
}

func TestDepthIsBounded(t *testing.T) {
	for depth, want := range map[int]bool{500: true, 600: false, 1 << 20: false} {
		body := `{"x":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}`
		if got := chatjson.ParseRequest([]byte(body)).Valid; got != want {
			t.Errorf("depth %d: %v", depth, got)
		}
	}
}

func TestRequestAttributes(t *testing.T) {
	for _, c := range []struct{ name, body, operation, want string }{
		{"chat", `{"model":"gpt-5","messages":[],"stream":true,"temperature":0.70,"top_p":1,"max_tokens":10,"seed":-3,"n":2}`,
			"chat", `{"gen_ai.request.model":"gpt-5","gen_ai.request.stream":true,"gen_ai.request.temperature":0.70,` +
				`"gen_ai.request.top_p":1,"gen_ai.request.max_tokens":10,"gen_ai.request.seed":-3,"gen_ai.request.choice.count":2}`},
		{"other spellings, first wins", `{"max_completion_tokens":5,"max_tokens":6,"prompt":"x"}`, "text_completion",
			`{"gen_ai.request.max_tokens":5}`},
		{"gemini", `{"contents":[{}]}`, "generate_content", `{}`},
		{"wrong types", `{"model":7,"stream":"yes","temperature":"hot","seed":null,"max_tokens":{}}`, "", `{}`},
		{"escapes", `{"model":"a\u0062\"c\ud800"}`, "", "{\"gen_ai.request.model\":\"ab\\\"c\uFFFD\"}"},
		{"bytes that are no UTF-8", "{\"model\":\"a\xff\"}", "", "{\"gen_ai.request.model\":\"a\uFFFD\"}"},
		{"cut in a member", `{"model":"m"`, "", `{}`},
		{"cut in a number", `{"model":"m","temperature":0.5,"max_tokens":12`, "", `{"gen_ai.request.model":"m","gen_ai.request.temperature":0.5}`},
		{"cut in the messages", `{"model":"m","messages":[{"role":"user","content":"hi"},{"ro`, "", `{"gen_ai.request.model":"m"}`},
		{"no JSON", `model=m`, "", `{}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := chatjson.ParseRequest([]byte(c.body))
			if got := string(r.Attributes.JSON()); got != c.want || r.Operation != c.operation {
				t.Errorf("%s %q\nwant %s %q", got, r.Operation, c.want, c.operation)
			}
		})
	}
}

// Hostile bodies of one size each take time in the order of the plain one. The factor is generous: quadratic work on
// 1 MiB would miss it by orders of magnitude.
func TestTimeIsLinear(t *testing.T) {
	const size = 1 << 20
	run := func(body string) time.Duration {
		start := time.Now()
		chatjson.ParseRequest([]byte(body))
		chatjson.ParseResponse([]byte(body))
		s := chatjson.NewStream(false)
		for b := []byte(body); len(b) > 0; b = b[min(len(b), 1000):] {
			s.Write(b[:min(len(b), 1000)])
		}
		s.End()
		return time.Since(start)
	}
	for name, unit := range map[string]string{
		"quotes": `\"`, "backslashes": `\\`, "open": `[`, "objects": `{"message":`, "commas": `{},`, "lines": "data: {\n",
		"tools": `{"tools":[`, "keys": `{"id":{"id":`,
	} {
		body := `{"messages":["` + strings.Repeat(unit, size/len(unit))
		if took := run(body); took > 2*time.Second {
			t.Errorf("%s: %v", name, took)
		}
	}
	deep := strings.Repeat(`{"message":`, 500) + `"` + strings.Repeat("x", size) + `"` + strings.Repeat("}", 500)
	if took := run(deep); took > 2*time.Second {
		t.Errorf("deep: %v", took)
	}
}

func TestProvider(t *testing.T) {
	for host, want := range map[string]string{
		"api.openai.com": "openai", "x.openai.azure.com": "azure.ai.openai", "API.Anthropic.com": "anthropic",
		"us-central1-aiplatform.googleapis.com": "gcp.vertex_ai", "bedrock-runtime.eu-west-1.amazonaws.com": "aws.bedrock",
		"127.0.0.1": "", "": "",
	} {
		if got := chatjson.Provider(host); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{`{"messages":[{"a":1},{"b":"\u00e9\\"}],"n":-1.5e+3}`, `{"input":["x",{}]}`, `[`, "{\"a\":\"\x01\"}",
		`{"a":01}`, `{"a":tru}`, ` {"system":"` + strings.Repeat("x", 300) + `"} `, `{"model":"m","seed":1}x`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := chatjson.ParseRequest(body)
		if !bytes.Equal(bytes.Join(r.Parts, nil), body) {
			t.Fatal("parts are not the body")
		}
		for _, p := range r.Parts {
			if len(p) == 0 {
				t.Fatal("empty part")
			}
		}
		if r.Valid && !json.Valid(body) || !r.Valid && len(r.Parts) > 1 {
			t.Fatalf("valid = %v, %d parts", r.Valid, len(r.Parts))
		}
		if trimmed := bytes.TrimLeft(body, " \t\r\n"); !r.Valid && json.Valid(body) && trimmed[0] == '{' &&
			bytes.Count(body, []byte("{"))+bytes.Count(body, []byte("[")) < 512 {
			t.Fatal("a valid body was refused")
		}
		if !json.Valid(r.Attributes.JSON()) {
			t.Fatalf("attributes: %s", r.Attributes.JSON())
		}
	})
}

func BenchmarkParseRequest(b *testing.B) {
	for _, size := range []int{1 << 10, 4600, 400 << 10} {
		var messages []string
		for n := 0; n < size; n += 500 {
			messages = append(messages, `{"role":"user","content":"`+strings.Repeat("some words\\n", 40)+`"}`)
		}
		body := []byte(`{"model":"m","messages":[` + strings.Join(messages, ",") + `],"stream":true,"temperature":0.5}`)
		b.Run(fmt.Sprintf("%dKiB", len(body)>>10), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				chatjson.ParseRequest(body)
			}
		})
	}
}
