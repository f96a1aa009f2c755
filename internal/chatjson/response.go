package chatjson

import (
	"cmp"
	"strings"
)

// Response gathers what an answer says, from one body or from the events of a stream, in which later figures replace
// earlier ones. The zero value is ready for use.
type Response struct {
	ID            string
	Model         string
	FinishReasons []string // one a choice, in the order of their first mention
	ToolCalls     int
	Failed        bool   // the answer holds an error, whatever its HTTP status
	ErrorType     string // code or type of an error that the answer holds
	ErrorMessage  string
	Done          bool // the stream told its end: [DONE], message_stop, response.completed, "done": true
	Ends          bool // the stream is of a kind that tells its end

	usage   [len(usageNames)][]byte // number literals, by position in usageNames
	choices []string                // the literal of the index of each choice in FinishReasons
}

// maxChoices bounds the reasons that are kept of one answer.
const maxChoices = maxTexts

// usageNames maps figures to attributes. Later rows are other spellings of earlier ones.
var usageNames = [...]struct{ name, attribute string }{
	{"prompt_tokens", "gen_ai.usage.input_tokens"},
	{"input_tokens", "gen_ai.usage.input_tokens"},
	{"promptTokenCount", "gen_ai.usage.input_tokens"},
	{"prompt_eval_count", "gen_ai.usage.input_tokens"},
	{"completion_tokens", "gen_ai.usage.output_tokens"},
	{"output_tokens", "gen_ai.usage.output_tokens"},
	{"candidatesTokenCount", "gen_ai.usage.output_tokens"},
	{"eval_count", "gen_ai.usage.output_tokens"},
	{"cached_tokens", "gen_ai.usage.cache_read.input_tokens"},
	{"cache_read_input_tokens", "gen_ai.usage.cache_read.input_tokens"},
	{"cache_creation_input_tokens", "gen_ai.usage.cache_write.input_tokens"},
	{"reasoning_tokens", "gen_ai.usage.reasoning.output_tokens"},
}

// ParseResponse reads a body that came whole. complete reports whether it is one JSON value.
func ParseResponse(body []byte) (r Response, complete bool) {
	complete = r.event(body)
	return r, complete
}

// Attributes adds gen_ai.response.* and gen_ai.usage.* to o.
func (r *Response) Attributes(o *Object) {
	if r.ID != "" {
		o.Text("gen_ai.response.id", r.ID)
	}
	if r.Model != "" {
		o.Text("gen_ai.response.model", r.Model)
	}
	if len(r.FinishReasons) > 0 {
		o.Texts("gen_ai.response.finish_reasons", r.FinishReasons)
	}
	for i, n := range usageNames {
		if r.usage[i] != nil && !o.has(n.attribute) {
			o.Raw(n.attribute, r.usage[i])
		}
	}
	if r.ToolCalls > 0 {
		o.Int("gen_ai.response.tool_calls", int64(r.ToolCalls))
	}
}

// head is what an event says about itself.
type head struct {
	kind, code, message string

	isError bool // "object": "error"
	carried bool // this is an answer inside an event, and holds no further one
}

// event takes in one JSON value and reports whether it is one.
func (r *Response) event(data []byte) bool {
	start, end, ok := document(data)
	if !ok {
		return false
	}
	var h head
	r.answer(data[start:end], &h)
	r.meaning(h)
	return true
}

// meaning follows the type of an event.
func (r *Response) meaning(h head) {
	switch {
	case h.kind == "message_stop", h.kind == "response.completed", h.kind == "response.incomplete",
		h.kind == "response.failed":
		r.Done, r.Ends = true, true
	case strings.HasPrefix(h.kind, "message_"), strings.HasPrefix(h.kind, "content_block"),
		strings.HasPrefix(h.kind, "response."):
		r.Ends = true
	case h.kind == "error":
		r.fail(h.code, h.message)
	case h.isError:
		r.fail(h.kind, h.message)
	}
}

// answer reads an answer, a chunk of one, or one that an event carries.
func (r *Response) answer(raw []byte, h *head) {
	fields(raw, func(name, v []byte) {
		switch string(name) {
		case "type":
			h.kind = unquote(v)
		case "object":
			h.isError = string(v) == `"error"`
		case "code":
			h.code = unquote(v)
		case "id", "responseId":
			set(&r.ID, v)
		case "model", "modelVersion":
			set(&r.Model, v)
		case "choices":
			r.Ends = true
			items(v, r.choice)
		case "candidates":
			items(v, r.choice)
		case "message":
			h.message = unquote(v)
			r.carried(v, h)
		case "response":
			r.carried(v, h)
		case "done":
			r.Ends, r.Done = true, r.Done || v[0] == 't'
		case "error":
			r.failure(v)
		default:
			r.detail(name, v)
		}
	})
}

func (r *Response) carried(raw []byte, by *head) {
	if !by.carried {
		r.answer(raw, &head{carried: true})
	}
}

// detail reads figures, reasons of ending and tool calls.
func (r *Response) detail(name, v []byte) {
	switch string(name) {
	case "usage", "usageMetadata":
		r.figures(v)
	case "prompt_eval_count", "eval_count":
		r.figure(name, v)
	case "stop_reason", "done_reason":
		r.ended("0", v)
	case "delta":
		fields(v, func(name, v []byte) {
			if string(name) == "stop_reason" {
				r.ended("0", v)
			}
		})
	case "status":
		if s := unquote(v); s == "completed" || s == "incomplete" || s == "failed" {
			r.ended("0", v)
		}
	case "content", "output":
		calls := 0
		items(v, func(item []byte) { calls += toolCall(item) })
		r.ToolCalls = max(r.ToolCalls, calls)
	case "content_block":
		r.ToolCalls += toolCall(v)
	case "tool_calls":
		items(v, func([]byte) { r.ToolCalls++ })
	}
}

// choice reads one of choices or candidates.
func (r *Response) choice(raw []byte) {
	index, why := "0", []byte(nil)
	fields(raw, func(name, v []byte) {
		switch string(name) {
		case "index":
			if isNumber(v) {
				index = string(v)
			}
		case "finish_reason", "finishReason":
			why = v
		case "message", "delta":
			fields(v, func(name, v []byte) {
				if string(name) == "tool_calls" {
					items(v, r.toolDelta)
				}
			})
		}
	})
	r.ended(index, why)
}

// toolDelta counts the pieces of tool calls that carry an id: the first of each.
func (r *Response) toolDelta(raw []byte) {
	fields(raw, func(name, v []byte) {
		if string(name) == "id" && len(v) > 2 && v[0] == '"' {
			r.ToolCalls++
		}
	})
}

// toolCall returns 1 if an item of content or output is one.
func toolCall(item []byte) (n int) {
	fields(item, func(name, v []byte) {
		if string(name) == "type" {
			if s := unquote(v); s == "tool_use" || s == "function_call" {
				n = 1
			}
		}
	})
	return n
}

// ended notes why a choice ended.
func (r *Response) ended(choice string, raw []byte) {
	why := short(raw)
	if why == "" {
		return
	}
	for i := range r.choices {
		if r.choices[i] == choice {
			r.FinishReasons[i] = why
			return
		}
	}
	if len(r.choices) < maxChoices {
		r.choices = append(r.choices, choice)
		r.FinishReasons = append(r.FinishReasons, why)
	}
}

// figures reads a usage object and the details in it.
func (r *Response) figures(raw []byte) {
	fields(raw, func(name, v []byte) {
		if v[0] != '{' {
			r.figure(name, v)
			return
		}
		fields(v, r.figure)
	})
}

func (r *Response) figure(name, v []byte) {
	if !isNumber(v) {
		return
	}
	for i := range usageNames {
		if usageNames[i].name == string(name) {
			r.usage[i] = append(r.usage[i][:0], v...)
			return
		}
	}
}

// failure reads the member error of an answer: null, a text or an object.
func (r *Response) failure(raw []byte) {
	switch raw[0] {
	case '"':
		r.fail("", unquote(raw))
	case '{':
		var kind, code, message string
		fields(raw, func(name, v []byte) {
			switch string(name) {
			case "type", "status":
				kind = cmp.Or(kind, unquote(v))
			case "code":
				code = unquote(v)
			case "message":
				message = unquote(v)
			}
		})
		r.fail(cmp.Or(code, kind), message)
	}
}

// fail keeps the first error.
func (r *Response) fail(kind, message string) {
	if !r.Failed {
		r.Failed, r.ErrorType, r.ErrorMessage = true, kind, message
	}
}

// fields calls visit for each member of raw, which holds valid JSON and may be no object.
func fields(raw []byte, visit func(name, v []byte)) {
	if raw[0] == '{' {
		members(raw, 0, 0, func(name []byte, from, to int) { visit(name, raw[from:to]) })
	}
}

// items calls visit for each element of raw, which holds valid JSON and may be no array.
func items(raw []byte, visit func(item []byte)) {
	if raw[0] == '[' {
		elements(raw, 0, 0, func(from, to int) { visit(raw[from:to]) })
	}
}

// set keeps the first text.
func set(s *string, raw []byte) {
	if *s == "" {
		*s = short(raw)
	}
}
