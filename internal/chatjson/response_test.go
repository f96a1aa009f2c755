package chatjson_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stelelog/stele/internal/chatjson"
)

func attributes(r *chatjson.Response) string {
	var o chatjson.Object
	r.Attributes(&o)
	return string(o.JSON())
}

func TestParseResponse(t *testing.T) {
	for _, c := range []struct{ name, body, want, failure string }{
		{"openai", `{"id":"c-1","object":"chat.completion","model":"gpt-5-x","choices":[` +
			`{"index":0,"message":{"role":"assistant","content":"a","tool_calls":[{"id":"t1"},{"id":"t2"}]},"finish_reason":"tool_calls"},` +
			`{"index":1,"message":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,` +
			`"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":3}}}`,
			`{"gen_ai.response.id":"c-1","gen_ai.response.model":"gpt-5-x","gen_ai.response.finish_reasons":["tool_calls","stop"],` +
				`"gen_ai.usage.input_tokens":9,"gen_ai.usage.output_tokens":12,"gen_ai.usage.cache_read.input_tokens":4,` +
				`"gen_ai.usage.reasoning.output_tokens":3,"gen_ai.response.tool_calls":2}`, ""},
		{"anthropic", `{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"x"},` +
			`{"type":"tool_use","id":"t"}],"stop_reason":"tool_use","usage":{"input_tokens":5,"output_tokens":7,` +
			`"cache_creation_input_tokens":1,"cache_read_input_tokens":2}}`,
			`{"gen_ai.response.id":"msg_1","gen_ai.response.model":"claude","gen_ai.response.finish_reasons":["tool_use"],` +
				`"gen_ai.usage.input_tokens":5,"gen_ai.usage.output_tokens":7,"gen_ai.usage.cache_read.input_tokens":2,` +
				`"gen_ai.usage.cache_write.input_tokens":1,"gen_ai.response.tool_calls":1}`, ""},
		{"responses", `{"id":"resp_1","object":"response","status":"completed","error":null,"model":"m","output":[{"type":"message"},` +
			`{"type":"function_call"}],"usage":{"input_tokens":1,"output_tokens":2,"output_tokens_details":{"reasoning_tokens":0}}}`,
			`{"gen_ai.response.id":"resp_1","gen_ai.response.model":"m","gen_ai.response.finish_reasons":["completed"],` +
				`"gen_ai.usage.input_tokens":1,"gen_ai.usage.output_tokens":2,"gen_ai.usage.reasoning.output_tokens":0,` +
				`"gen_ai.response.tool_calls":1}`, ""},
		{"gemini", `{"candidates":[{"content":{},"finishReason":"STOP"}],"modelVersion":"g","responseId":"r",` +
			`"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4}}`,
			`{"gen_ai.response.id":"r","gen_ai.response.model":"g","gen_ai.response.finish_reasons":["STOP"],` +
				`"gen_ai.usage.input_tokens":3,"gen_ai.usage.output_tokens":4}`, ""},
		{"ollama", `{"model":"q","message":{"role":"assistant","content":"x"},"done":true,"done_reason":"stop","prompt_eval_count":3,"eval_count":4}`,
			`{"gen_ai.response.model":"q","gen_ai.response.finish_reasons":["stop"],"gen_ai.usage.input_tokens":3,"gen_ai.usage.output_tokens":4}`, ""},
		{"openai error", `{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}`, `{}`,
			"rate_limit_exceeded: slow down"},
		{"error with a number for a code", `{"error":{"message":"no","status":"INVALID_ARGUMENT","code":400}}`, `{}`, "INVALID_ARGUMENT: no"},
		{"error as text", `{"error":"model not found"}`, `{}`, ": model not found"},
		{"anthropic error", `{"type":"error","error":{"type":"overloaded_error","message":"busy"}}`, `{}`, "overloaded_error: busy"},
		{"error at the top", `{"object":"error","message":"bad","type":"BadRequestError","code":400}`, `{}`, "BadRequestError: bad"},
		{"an answer inside an answer inside an event", `{"message":{"model":"m","message":{"id":"x"}}}`, `{"gen_ai.response.model":"m"}`, ""},
		{"wrong types", `{"id":1,"model":[],"choices":{},"usage":7,"error":null,"status":200,"message":null,"output":"x","content":null}`, `{}`, ""},
		{"no object", `[1]`, `{}`, ""},
		{"invalid", `{"id":"x"`, `{}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, complete := chatjson.ParseResponse([]byte(c.body))
			if got := attributes(&r); got != c.want {
				t.Errorf("%s\nwant %s", got, c.want)
			}
			failure := ""
			if r.Failed {
				failure = r.ErrorType + ": " + r.ErrorMessage
			}
			if failure != c.failure || complete != (c.name != "invalid") {
				t.Errorf("failure %q, complete %v", failure, complete)
			}
		})
	}
}

func TestObject(t *testing.T) {
	var o, more chatjson.Object
	o.Append(&more)
	o.Text("a", "x\"\\\n\xff\u00e9")
	o.Int("b", -7)
	more.Texts("c", []string{"1", "\xc3("})
	more.Raw("d\"", []byte("1.50"))
	o.Append(&more)
	want := "{\"a\":\"x\\\"\\\\\\n\uFFFD\u00e9\",\"b\":-7,\"c\":[\"1\",\"\uFFFD(\"],\"d\\\"\":1.50}"
	if got := string(o.JSON()); got != want || !json.Valid(o.JSON()) {
		t.Errorf("%s\nwant %s", got, want)
	}
	var names []string
	ok := chatjson.Members([]byte(` {"a\u0062":1 , "c\"":{"x":[]}, "":0}`), func(name string, value []byte) {
		names = append(names, name+"="+string(value))
	})
	if got := strings.Join(names, " "); !ok || got != `ab=1 c"={"x":[]} =0` {
		t.Errorf("%v %s", ok, got)
	}
	for _, bad := range []string{"", "[]", "{", `{"a":1}x`, "null"} {
		if chatjson.Members([]byte(bad), func(string, []byte) {}) {
			t.Errorf("%s is an object", bad)
		}
	}
}

const openAIStream = "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"},\"finish_reason\":null}]}\n\n" +
	": keep-alive\n\n" +
	"data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"t\"}]}}]}\r\n\r\n" +
	"data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{}}]}}]}\n\n" +
	"event: x\ndata: {\"choices\":\ndata: [{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n" +
	"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n" +
	"data: [DONE]\n\n"

const anthropicStream = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m1\",\"type\":\"message\",\"model\":\"c\",\"content\":[],\"usage\":{\"input_tokens\":8,\"output_tokens\":1}}}\n\n" +
	"data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\"}}\n\n" +
	"data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":20}}\n\n" +
	"data: {\"type\":\"message_stop\"}\n\n"

const responsesStream = "data: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"status\":\"in_progress\",\"error\":null}}\n\n" +
	"data: {\"type\":\"response.output_text.delta\",\"delta\":\"x\"}\n\n" +
	"data: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"model\":\"m\",\"status\":\"completed\",\"output\":[{\"type\":\"function_call\"}],\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}}\n\n"

const ollamaStream = "{\"model\":\"q\",\"message\":{\"content\":\"a\"},\"done\":false}\n{\"model\":\"q\",\"done\":true,\"done_reason\":\"length\",\"eval_count\":4}\n"

func TestStream(t *testing.T) {
	for _, c := range []struct {
		name, text, want string
		events           int
		done, ends       bool
		failure          string
	}{
		{"openai", openAIStream, `{"gen_ai.response.id":"c","gen_ai.response.model":"m","gen_ai.response.finish_reasons":["stop"],` +
			`"gen_ai.usage.input_tokens":1,"gen_ai.usage.output_tokens":2,"gen_ai.response.tool_calls":1}`, 5, true, true, ""},
		{"openai cut", openAIStream[:strings.Index(openAIStream, "data: [DONE]")], `{"gen_ai.response.id":"c","gen_ai.response.model":"m",` +
			`"gen_ai.response.finish_reasons":["stop"],"gen_ai.usage.input_tokens":1,"gen_ai.usage.output_tokens":2,` +
			`"gen_ai.response.tool_calls":1}`, 5, false, true, ""},
		{"anthropic", anthropicStream, `{"gen_ai.response.id":"m1","gen_ai.response.model":"c","gen_ai.response.finish_reasons":["end_turn"],` +
			`"gen_ai.usage.input_tokens":8,"gen_ai.usage.output_tokens":20,"gen_ai.response.tool_calls":1}`, 4, true, true, ""},
		{"responses", responsesStream, `{"gen_ai.response.id":"r","gen_ai.response.model":"m","gen_ai.response.finish_reasons":["completed"],` +
			`"gen_ai.usage.input_tokens":1,"gen_ai.usage.output_tokens":2,"gen_ai.response.tool_calls":1}`, 3, true, true, ""},
		{"ollama", ollamaStream, `{"gen_ai.response.model":"q","gen_ai.response.finish_reasons":["length"],"gen_ai.usage.output_tokens":4}`, 2, true, true, ""},
		{"done without a line end", "data: [DONE]", `{}`, 0, true, true, ""},
		{"error event", "data: {\"error\":{\"type\":\"server_error\",\"message\":\"gpu\"}}\n\ndata: [DONE]\n\n", `{}`, 1, true, true, "server_error: gpu"},
		{"typed error event", "data: {\"type\":\"error\",\"code\":\"E\",\"message\":\"m\"}\n\n", `{}`, 1, false, false, "E: m"},
		{"foreign", "data: tick\n\ndata: {}\n\n", `{}`, 2, false, false, ""},
		{"too large an event says nothing", "data: {\"id\":\"" + strings.Repeat("x", 2<<20) + "\"}\n\ndata: {\"id\":\"y\"}\n\n",
			`{"gen_ai.response.id":"y"}`, 2, false, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, step := range []int{1, 7, 1 << 30} {
				s := chatjson.NewStream(c.name == "ollama")
				for b := []byte(c.text); len(b) > 0; b = b[min(step, len(b)):] {
					s.Write(b[:min(step, len(b))])
				}
				s.End()
				failure := ""
				if s.Failed {
					failure = s.ErrorType + ": " + s.ErrorMessage
				}
				if got := attributes(&s.Response); got != c.want || s.Events != c.events || s.Done != c.done || s.Ends != c.ends || failure != c.failure {
					t.Errorf("step %d: %s\nwant %s\nevents %d done %v ends %v failure %q", step, got, c.want, s.Events, s.Done, s.Ends, failure)
				}
			}
		})
	}
}

func FuzzStream(f *testing.F) {
	for _, s := range []string{openAIStream, anthropicStream, responsesStream, ollamaStream} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		for _, lines := range []bool{false, true} {
			whole, pieces := chatjson.NewStream(lines), chatjson.NewStream(lines)
			whole.Write(b)
			whole.End()
			for rest, n := b, int(step)+1; len(rest) > 0; rest = rest[min(n, len(rest)):] {
				pieces.Write(rest[:min(n, len(rest))])
			}
			pieces.End()
			one, two := attributes(&whole.Response), attributes(&pieces.Response)
			if one != two || whole.Events != pieces.Events || whole.Done != pieces.Done {
				t.Fatalf("whole %s %d, in pieces %s %d", one, whole.Events, two, pieces.Events)
			}
			if !json.Valid([]byte(one)) {
				t.Fatal(one)
			}
		}
	})
}

func BenchmarkStream(b *testing.B) {
	chunk := []byte("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-5-x\"," +
		"\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"finish_reason\":null}]}\n\n")
	s := chatjson.NewStream(false)
	b.ReportAllocs()
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		s.Write(chunk)
	}
}
