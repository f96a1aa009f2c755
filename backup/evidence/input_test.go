package evidence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
)

// What is no evidence file, or none for this trust file, gets a clear answer: ErrFormat, a FailedError, or that the trust
// file is none.
func TestBadInput(t *testing.T) {
	trust, whole := load(t, "trust.stele"), load(t, "many.evidence")
	version := bytes.Clone(whole)
	version[magicLen] = 9
	zip := append([]byte("PK\x03\x04"), whole...)
	many := bytes.Repeat([]byte{200, 0}, maxParts+1)
	for name, c := range map[string]struct {
		trust, file []byte
		format      bool
		says        string
	}{
		"empty":                   {trust, nil, true, "does not start like one"},
		"a line":                  {trust, []byte("hello\n"), true, "does not start like one"},
		"the trust file":          {trust, trust, true, "does not start like one"},
		"a ZIP":                   {trust, zip, true, "does not start like one"},
		"JSON":                    {trust, []byte(`{"stele":"anchor/v1"}`), true, "does not start like one"},
		"the first bytes":         {trust, whole[:headerLen-1], true, "does not start like one"},
		"half":                    {trust, whole[:len(whole)/2], true, "damaged"},
		"with something behind":   {trust, append(bytes.Clone(whole), '\n'), true, "damaged"},
		"version 9":               {trust, version, true, "version 9"},
		"no version":              {trust, slices.Concat(whole[:5], []byte{1}, whole[6:]), true, "damaged"},
		"version 0":               {trust, slices.Concat(whole[:4], []byte{0}, whole[5:]), true, "damaged"},
		"larger than any":         {trust, append(bytes.Clone(whole), make([]byte, maxPacked)...), true, "bytes"},
		"no parts":                {trust, literally(fileArchive(whole), nil), false, "no record and no entry"},
		"too many parts":          {trust, literally(fileArchive(whole), many), true, "parts"},
		"another archive":         {load(t, "other.stele"), whole, false, "of the archive"},
		"words and nothing":       {trust, wrap(fileArchive(whole), make([]byte, wordLen), stored(nil)), true, "without use"},
		"more words than bytes":   {trust, wrap(fileArchive(whole), nil, binary.AppendUvarint(nil, 1<<40)), true, "unpack"},
		"words that are not":      {trust, append(wrap(fileArchive(whole), nil, nil)[:headerLen], 255), true, "damaged"},
		"a part without end":      {trust, literally(fileArchive(whole), []byte{7}), true, "operation"},
		"no trust file":           {nil, whole, false, "trust file"},
		"evidence as trust file":  {whole, whole, false, "trust file"},
		"half a trust file":       {trust[:len(trust)/2], whole, false, "trust file"},
		"trust file of version 2": {bytes.Replace(trust, []byte("/v1"), []byte("/v2"), 1), whole, false, "trust file"},
		"a witness without key":   {append(bytes.Clone(trust), "witness W x\nquorum W\n"...), whole, false, "trust file"},
		"witnesses, no quorum":    {append(bytes.Clone(trust), "witness W x\n"...), whole, false, "trust file"},
		"keys exchanged":          {exchanged(string(trust)), whole, false, "trust file"},
	} {
		r, err := Check(c.trust, c.file)
		switch {
		case err == nil:
			t.Errorf("%s: accepted: %+v", name, r)
		case errors.Is(err, ErrFormat) != c.format || !strings.Contains(err.Error(), c.says):
			t.Errorf("%s: %v", name, err)
		}
	}
}

// exchanged is a trust file with the key of the log in the place of the root's, and the other way round.
func exchanged(trust string) []byte {
	return []byte(strings.NewReplacer("\nroot ", "\nlog ", "\nlog ", "\nroot ").Replace(trust))
}

// Check has no clock: what a file shows does not depend on when it is looked at. Times that signers state are said as they are.
func TestClockFarOff(t *testing.T) {
	w := newWorld(t)
	w.at = w.at.AddDate(5000, 0, 0)
	w.erase()
	v, r := judge(t, w.trust(), w.file(w.parts()))
	if v.Err != "" || !strings.Contains(r.Holds[2].Detail, "7026-10-05") {
		t.Errorf("%s %+v", v, r)
	}
}
