package chatjson

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

const attributes = `{"gen_ai.operation.name":"chat","gen_ai.request.model":"m-1","gen_ai.usage.input_tokens":120`

func objectSamples() []string {
	return []string{`{}`, ` { } `, `{"a":1}`, `{"a":[1,2,{"b":null}],"c":"\u00e4\\n"}`, `{"a":-0.5e+10}`, `{"a":1E9}`, `{"a":true,"b":false}`,
		``, `[]`, `{`, `}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{"a":01}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":+1}`, `{"a":-}`,
		`{"a":"\x"}`, `{"a":"\u12g4"}`, `{"a":"\u12"}`, "{\"a\":\"\n\"}", `{"a":tru}`, `{"a":nul}`, `{"a":1}{}`, `{"a":1} x`, `{1:2}`, `{"a" 1}`,
		attributes + `}`, attributes + `,}`, attributes + `,"a":}`, attributes + `,"a name of length":{"b":"another name"}}`,
		`{"a name of length":"a value of length",}         `, `{"a name of length":"a value of length" }`, `{"a name of length":00}         `,
		`{"a name of length":-1,"a name of length":0.5,"a name of length":{}}`, `{"a name of length" "a value of length"}`,
		`{"a name of length":"a value of length":"a value of length"}`, `{"a name of length",        "a value of length":1}`,
		`{"a name of length":"ends w`, `{"a name of length":"no escape","an escape\n":"an\u00e4"}`, `{"ein Wort, dänisch: æ":"ü"}`,
		"{\"a name of length\":\"a value \x1fof length\"}", "{\"a name of length\":\"a value \xffof length\"}", `{"a":1,"a name of length":1}`,
		"{\"a\":\"a value \x1fof length\",\"a name of length\":12345}", "{\"a\":\"a value \xffof length\",\"a name of length\":12345}",
		"{\"a\":\"a value \x81of length\",\"a name of length\":12345}", "{\"a\":\"a value \x7fof length\",\"a name of length\":12345}", `{"a":"a value \of length","a name of length":12345}`,
		`{"a":[1 2]}`, `{"a":[1,]}`, `{"a":"`, "{\"a\":1}\x00", "\x00{}", `{"a":"\`, `"a"`, `1`, `null`}
}

func TestObjectIsWhatEncodingJSONTakes(t *testing.T) {
	for _, s := range objectSamples() {
		checkObject(t, []byte(s))
	}
	if !IsObject([]byte(strings.Repeat(`{"a":`, maxDepth-1) + `{}` + strings.Repeat(`}`, maxDepth-1))) {
		t.Errorf("%d levels are refused", maxDepth)
	}
	if IsObject([]byte(strings.Repeat(`{"a":`, maxDepth) + `{}` + strings.Repeat(`}`, maxDepth))) {
		t.Errorf("%d levels are taken", maxDepth+1)
	}
}

func checkObject(t *testing.T, b []byte) {
	t.Helper()
	want := json.Valid(b) && utf8.Valid(b) && bytes.TrimLeft(b, " \t\r\n")[0] == '{'
	if got := IsObject(b); got != want && !deep(b) {
		t.Errorf("%q is an object: %v, want %v", b, got, want)
	}
}

// What is plain is an object, and compact.
func TestPlain(t *testing.T) {
	n := 0
	for _, s := range objectSamples() {
		checkPlain(t, []byte(s))
		if IsPlain([]byte(s)) {
			n++
		}
	}
	if n == 0 || !IsPlain([]byte(attributes+"}")) {
		t.Errorf("%d samples are plain", n)
	}
}

func checkPlain(t *testing.T, b []byte) {
	t.Helper()
	var compact bytes.Buffer
	if IsPlain(b) && (!IsObject(b) || json.Compact(&compact, b) != nil || !bytes.Equal(compact.Bytes(), b)) {
		t.Errorf("%q is no plain object", b)
	}
}

func deep(b []byte) bool { return bytes.Count(b, []byte("{"))+bytes.Count(b, []byte("[")) > maxDepth }

func FuzzIsObject(f *testing.F) {
	for _, s := range objectSamples() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkObject(t, b)
		checkPlain(t, b)
	})
}
