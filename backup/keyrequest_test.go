package backup_test

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
)

// TestKeyRequests: only readers of this archive get wrapped keys, once for each request, in time.
func TestKeyRequests(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	s := a.stream(keyscope.Link{})
	s.send(some(3)...)
	s.close()
	a.once(keys)
	var id identity.Reader
	if err := identity.Parse(a.file("reader", "reader.stele"), identity.ReaderFormat, &id); err != nil {
		t.Fatal(err)
	}
	reader := signer(t, identity.KeyName("test", "reader", "reader"), id.Sign)
	scope := ""
	for _, sc := range s.scopes {
		scope = hex.EncodeToString(sc.id[:])
	}
	ask := func(by note.Signer, archive fmt.Stringer, at time.Time, scopes []string) []byte {
		var nonce [16]byte
		rand.Read(nonce[:])
		file, err := note.Sign(&note.Note{Text: fmt.Sprintf(
			`{"stele":"keys/v1","archive":"%v","reader":"%s","time":"%s","nonce":"%x","scopes":["%s"],"why":"test"}`+"\n",
			archive, by.Name(), at.UTC().Format(time.RFC3339Nano), nonce, strings.Join(scopes, `","`))}, by)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	one := []string{scope}
	good := ask(reader, id.Archive, time.Now(), one)
	stranger := signer(t, reader.Name(), slices.Repeat([]byte{4}, 32))
	for _, test := range []struct {
		name    string
		request []byte
		refused string
	}{
		{"good", good, ""},
		{"the same again", good, "answered already"},
		{"another key of that name", ask(stranger, id.Archive, time.Now(), one), "no verifiable signatures"},
		{"the compactor", ask(a.commitSigner(), id.Archive, time.Now(), one), "no reader"},
		{"old", ask(reader, id.Archive, time.Now().Add(-3*time.Minute), one), "from this clock"},
		{"ahead", ask(reader, id.Archive, time.Now().Add(3*time.Minute), one), "from this clock"},
		{"another archive", ask(reader, identity.ID{1}, time.Now(), one), "another archive"},
		{"too many", ask(reader, id.Archive, time.Now(), slices.Repeat(one, 10_001)), "over 10000"},
		{"changed", flip(ask(reader, id.Archive, time.Now(), one), 8*150), ""},
		{"no note", []byte("{}"), "not a signed note"},
		{"nothing", nil, "not a signed note"},
	} {
		w := httptest.NewRecorder()
		keys.Handler().ServeHTTP(w, httptest.NewRequest("POST", "/v1/keys", strings.NewReader(string(test.request))))
		ok := test.name == "good"
		if ok != (w.Code == http.StatusOK) || !ok && w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), test.refused) {
			t.Errorf("%s: %d %s", test.name, w.Code, w.Body)
		}
		if ok != strings.Contains(w.Body.String(), `"wrapped"`) {
			t.Errorf("%s: keys given out: %s", test.name, w.Body)
		}
	}
}
