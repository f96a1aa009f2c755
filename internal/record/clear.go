package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/bits"
	"strconv"
	"strings"
)

// Bucket is the number of significant bits of v: an exact length or count would help to guess a text.
func Bucket(v uint64) uint8 { return uint8(bits.Len64(v)) }

// Facts are what the clear half of a leaf takes from the attributes.
type Facts struct {
	Clear        Clear
	InputTokens  uint64
	OutputTokens uint64
	DurationUS   uint64
}

// CompactAttributes appends the JSON object object without insignificant white space to dst and returns it.
// It fails if object is no JSON object.
func CompactAttributes(dst *bytes.Buffer, object []byte) error {
	if err := json.Compact(dst, object); err != nil {
		return errors.New("attributes are no valid JSON")
	}
	if trimmed := bytes.TrimLeft(object, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return errors.New("attributes are no JSON object")
	}
	return nil
}

// ReadFacts finds what stays in clear in a compact, valid JSON object. It does not allocate but for the values.
func ReadFacts(object []byte) (f Facts) {
	var request string
	members(object, func(key, value []byte) {
		switch string(key) {
		case "gen_ai.operation.name":
			f.Clear[Operation] = clearValue(value)
		case "gen_ai.provider.name":
			f.Clear[Provider] = clearValue(value)
		case "gen_ai.response.model":
			f.Clear[Model] = clearValue(value)
		case "gen_ai.request.model":
			request = clearValue(value)
		case "gen_ai.response.finish_reasons":
			f.Clear[Finish] = clearValue(first(value))
		case "error.type":
			f.Clear[ErrorType] = clearValue(value)
		case "service.version":
			f.Clear[Release] = clearValue(value)
		case "gen_ai.usage.input_tokens":
			f.InputTokens = count(value, 1)
		case "gen_ai.usage.output_tokens":
			f.OutputTokens = count(value, 1)
		case "gen_ai.client.operation.duration":
			f.DurationUS = count(value, 1e6)
		}
	})
	if f.Clear[Model] == "" {
		f.Clear[Model] = request
	}
	return f
}

// members calls visit for each member of a compact, valid JSON object; keys are without quotes, not unescaped.
func members(object []byte, visit func(key, value []byte)) {
	i := 1
	for i < len(object) && object[i] == '"' {
		end := skipString(object, i)
		key := object[i+1 : end-1]
		start := end + 1
		i = skipValue(object, start)
		visit(key, object[start:i])
		i++ // the comma or the closing brace
	}
}

// skipString returns the place after the string that starts at i.
func skipString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// skipValue returns the place after the value that starts at i.
func skipValue(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = skipString(b, i)
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}

// first is the first element of an array, or the value itself.
func first(value []byte) []byte {
	if len(value) < 2 || value[0] != '[' || value[1] == ']' {
		return value
	}
	return value[1:skipValue(value, 1)]
}

// Hidden stands in the clear half for a value that is not fit to be clear.
const Hidden = "~"

// clearValue is a JSON string of at most 64 harmless bytes, or Hidden.
func clearValue(value []byte) string {
	if len(value) == 0 || string(value) == "null" || string(value) == `""` || string(value) == "[]" {
		return ""
	}
	if value[0] != '"' || len(value) > 66 {
		return Hidden
	}
	text := string(value[1 : len(value)-1])
	if !IsClear(text) {
		return Hidden
	}
	return text
}

// IsClear reports whether a value is fit to be clear: at most 64 harmless bytes.
func IsClear(text string) bool {
	for _, c := range []byte(text) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._:/@+-", c) >= 0) {
			return false
		}
	}
	return len(text) <= 64
}

// count reads a JSON number times scale; what is no number counts as 0.
func count(value []byte, scale float64) uint64 {
	n, err := strconv.ParseFloat(string(value), 64)
	if n *= scale; err != nil || !(n > 0) || n > 1<<62 {
		return 0
	}
	return uint64(n)
}
