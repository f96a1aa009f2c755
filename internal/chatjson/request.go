package chatjson

// MaxParts is the most parts that a body is cut into. Messages beyond stay together in the last one.
const MaxParts = 1024

// minValue is the size in bytes from which a repeated value outside the messages (tools, a system prompt) is a part of
// its own.
const minValue = 256

// Request is what a request body says.
type Request struct {
	// Parts are the body in pieces; joined in order they are the body, byte for byte. A body that is no JSON object, or
	// that has no messages, is one part; an empty one has none. The white space and comma before a message belong to its
	// part, so that the parts of a conversation are, in the next turn, the same bytes in the same order with new ones
	// after them.
	Parts [][]byte

	Valid      bool   // the body is one JSON object
	Operation  string // gen_ai.operation.name, if the form of the body tells it
	Model      string
	Stream     bool
	Attributes Object // gen_ai.request.*
}

// ParseRequest reads a request body. Parts refer to it. Of a body that breaks off, which is one part, it reads the members
// that came whole.
func ParseRequest(body []byte) Request {
	var r Request
	start := space(body, 0)
	if start < len(body) && body[start] == '{' {
		c := cutter{body: body}
		end := members(body, start, 0, func(name []byte, from, to int) {
			r.member(name, body[from:to])
			c.member(name, from, to)
		})
		if end >= 0 && space(body, end) == len(body) {
			r.Valid = true
			c.cut(len(body))
			r.Parts = c.parts
			return r
		}
	}
	if len(body) > 0 {
		r.Parts = [][]byte{body}
	}
	return r
}

// cutter collects parts.
type cutter struct {
	body  []byte
	done  int
	parts [][]byte
}

// member cuts at the bounds of what clients repeat.
func (c *cutter) member(name []byte, from, to int) {
	switch string(name) {
	case "messages", "input", "contents":
		if c.body[from] == '[' {
			c.list(from)
			return
		}
	case "tools", "system", "instructions", "systemInstruction", "functions", "response_format", "text":
	default:
		return
	}
	if to-from >= minValue && c.room() {
		c.cut(from)
		c.cut(to)
	}
}

// list cuts after each object of the array at from, and around its content: an answer comes back as the content of a
// message. Lists of strings or tokens hold nothing that comes again.
func (c *cutter) list(from int) {
	first := true
	elements(c.body, from, 1, func(at, end int) {
		if c.body[at] != '{' || !c.room() {
			return
		}
		if first {
			c.cut(from + 1)
			first = false
		}
		members(c.body, at, 2, c.content)
		c.cut(end)
	})
}

// content cuts the text of a long member "content" out of its quotes.
func (c *cutter) content(name []byte, from, to int) {
	if string(name) == "content" && c.body[from] == '"' && to-from >= minValue && c.room() {
		c.cut(from + 1)
		c.cut(to - 1)
	}
}

// ResponseParts cuts the body of a chat completion around the content of its answers, which the next request repeats.
// Joined in order the parts are the body; any other body is one part, an empty one has none.
func ResponseParts(body []byte) [][]byte {
	if len(body) == 0 {
		return nil
	}
	c := cutter{body: body}
	start := space(body, 0)
	if start == len(body) || body[start] != '{' {
		return [][]byte{body}
	}
	end := members(body, start, 0, func(name []byte, from, _ int) {
		if string(name) != "choices" || body[from] != '[' {
			return
		}
		elements(body, from, 1, func(at, _ int) {
			if body[at] != '{' {
				return
			}
			members(body, at, 2, func(name []byte, from, _ int) {
				if string(name) == "message" && body[from] == '{' {
					members(body, from, 3, c.content)
				}
			})
		})
	})
	if end < 0 || space(body, end) != len(body) {
		return [][]byte{body}
	}
	c.cut(len(body))
	return c.parts
}

// room says whether four more parts leave one for the rest.
func (c *cutter) room() bool { return len(c.parts) < MaxParts-5 }

func (c *cutter) cut(at int) {
	if at > c.done {
		c.parts = append(c.parts, c.body[c.done:at:at])
		c.done = at
	}
}

// numeric maps parameters to the names of OpenTelemetry.
var numeric = [...]struct{ name, attribute string }{
	{"temperature", "gen_ai.request.temperature"},
	{"top_p", "gen_ai.request.top_p"},
	{"top_k", "gen_ai.request.top_k"},
	{"max_tokens", "gen_ai.request.max_tokens"},
	{"max_completion_tokens", "gen_ai.request.max_tokens"},
	{"max_output_tokens", "gen_ai.request.max_tokens"},
	{"seed", "gen_ai.request.seed"},
	{"n", "gen_ai.request.choice.count"},
	{"frequency_penalty", "gen_ai.request.frequency_penalty"},
	{"presence_penalty", "gen_ai.request.presence_penalty"},
}

// member takes over a parameter. A second mention of one adds nothing that the log must decide on: the body has both.
func (r *Request) member(name, raw []byte) {
	switch string(name) {
	case "model":
		if r.Model == "" {
			if r.Model = short(raw); r.Model != "" {
				r.Attributes.Text("gen_ai.request.model", r.Model)
			}
		}
	case "stream":
		if raw[0] == 't' && !r.Stream {
			r.Stream = true
			r.Attributes.Raw("gen_ai.request.stream", raw)
		}
	case "messages":
		r.Operation = "chat"
	case "contents":
		r.Operation = "generate_content"
	case "prompt":
		if r.Operation == "" {
			r.Operation = "text_completion"
		}
	default:
		r.number(name, raw)
	}
}

func (r *Request) number(name, raw []byte) {
	if !isNumber(raw) {
		return
	}
	for _, n := range numeric {
		if n.name == string(name) && !r.Attributes.has(n.attribute) {
			r.Attributes.Raw(n.attribute, raw)
			return
		}
	}
}
