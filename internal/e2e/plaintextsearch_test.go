package e2e_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// newCanary makes text that occurs nowhere else. It is not ASCII, so that escaping changes it, and has nothing in it that
// a compression without entropy coding could shorten.
func newCanary() string {
	var b strings.Builder
	for range 12 {
		b.WriteRune(0x4e00 + rand.N[rune](0x5000))
	}
	return b.String()
}

// filler is text around a canary that has zstd code the canary's bytes, too.
func filler() string {
	b := make([]byte, 8<<10)
	for i := range b {
		b[i] = "aaaaaaabcdefghij"[rand.N(16)] // with repeats, or zstd would leave it as it is
	}
	return string(b)
}

// needle is one form in which a canary would be plaintext.
type needle struct {
	place, form string
	bytes       []byte
}

func needlesOf(place, canary string) (all []needle) {
	add := func(form, text string) { all = append(all, needle{place, form, []byte(text)}) }
	add("plain", canary)
	add("hex", hex.EncodeToString([]byte(canary)))
	add("HEX", strings.ToUpper(hex.EncodeToString([]byte(canary))))
	add("percent", url.QueryEscape(canary))
	add("escaped", escape(canary, `\u%04x`))
	add("ESCAPED", escape(canary, `\u%04X`))
	for shift := range 3 {
		// The characters that neighbouring bytes have a part in are cut off.
		text := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), canary...))
		text = text[(8*shift+5)/6 : len(text)-2]
		add(fmt.Sprintf("base64+%d", shift), text)
		add(fmt.Sprintf("base64url+%d", shift), strings.NewReplacer("+", "-", "/", "_").Replace(text))
	}
	return all
}

// escape writes each character as JSON may.
func escape(text, format string) string {
	var b strings.Builder
	for _, r := range text {
		fmt.Fprintf(&b, format, r)
	}
	return b.String()
}

// search finds canaries in all files below a directory, names of files included, by place.
func (p *planting) search(dir string) map[string][]string {
	p.t.Helper()
	found, files := map[string][]string{}, 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // servers and compactors clean up
		}
		if err != nil {
			return err
		}
		merge(found, p.find([]byte(path)), "the path "+path)
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		files++
		merge(found, p.find(bytes.TrimRight(data, "\x00")), path)
		return err
	})
	if err != nil || files == 0 {
		p.t.Errorf("searching %s: %d files, %v", dir, files, err)
	}
	return found
}

func merge(into, found map[string][]string, where string) {
	for place, hits := range found {
		for _, h := range hits {
			into[place] = append(into[place], where+h)
		}
	}
}

// find finds canaries in data, and in everything compressed that begins anywhere in it.
func (p *planting) find(data []byte) map[string][]string {
	found := map[string][]string{}
	look(p.needles, data, found, "", 2)
	return found
}

func look(needles []needle, data []byte, found map[string][]string, where string, depth int) {
	for _, n := range needles {
		if bytes.Contains(data, n.bytes) {
			found[n.place] = append(found[n.place], where+" as "+n.form)
		}
	}
	if depth == 0 {
		return
	}
	for _, c := range compressions {
		for at := 0; ; at++ {
			i := bytes.Index(data[at:], c.magic)
			if i < 0 {
				break
			}
			at += i
			if plain := c.unpack(data[at:]); len(plain) > 0 {
				look(needles, plain, found, where+" in "+c.name, depth-1)
			}
		}
	}
}

// compressions are the formats whose beginning can be seen.
var compressions = []struct {
	name   string
	magic  []byte
	unpack func([]byte) []byte
}{
	{"zstd", []byte{0x28, 0xb5, 0x2f, 0xfd}, func(data []byte) []byte {
		d, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
		if err != nil {
			return nil
		}
		defer d.Close()
		return asFarAsItGoes(d)
	}},
	{"s2", []byte("\xff\x06\x00\x00S2sTwO"), func(data []byte) []byte { return asFarAsItGoes(s2.NewReader(bytes.NewReader(data))) }},
	{"snappy", []byte("\xff\x06\x00\x00sNaPpY"), func(data []byte) []byte { return asFarAsItGoes(s2.NewReader(bytes.NewReader(data))) }},
	{"gzip", []byte{0x1f, 0x8b, 0x08}, func(data []byte) []byte {
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil
		}
		return asFarAsItGoes(z)
	}},
}

// asFarAsItGoes reads what can be decompressed; behind it comes what belongs to something else.
func asFarAsItGoes(r io.Reader) []byte {
	plain, _ := io.ReadAll(io.LimitReader(r, 64<<20))
	return plain
}

// TestPlaintextSearch shows that the search finds each form of a canary, at every alignment and when compressed.
func TestPlaintextSearch(t *testing.T) {
	canary := newCanary()
	p := planting{needles: needlesOf("body", canary)}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	packed := enc.EncodeAll([]byte(filler()+canary), nil)
	if bytes.Contains(packed, []byte(canary)) {
		t.Error("the compressed text shows the canary as it is")
	}
	texts := []string{canary, hex.EncodeToString([]byte(canary)), escape(canary, `\u%04X`), url.QueryEscape(canary),
		string(packed) + "more"}
	for before := range 3 {
		for after := range 3 {
			around := strings.Repeat("\xff", before) + canary + strings.Repeat("\xff", after)
			texts = append(texts, base64.StdEncoding.EncodeToString([]byte(around)), base64.URLEncoding.EncodeToString([]byte(around)))
		}
	}
	for i, text := range texts {
		if len(p.find([]byte("before " + text + " behind"))["body"]) == 0 {
			t.Errorf("text %d is not found", i)
		}
	}
	if found := p.find([]byte(newCanary())); len(found) > 0 {
		t.Errorf("found what is not there: %v", found)
	}
}
