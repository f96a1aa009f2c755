package cosign

import (
	"fmt"
	"strings"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// Cosignatures that the library of transparency-dev makes are read here, and ours there.
func TestFormatsOfTransparencyDev(t *testing.T) {
	const text = "log.example\n7\nSuGRk59UjZk0dAuI3qLFy4m7iHD8RQXNed7Gu/qu6cs=\n"
	skey, plain, err := note.GenerateKey(nil, "theirs.example")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := fnote.NewSignerForCosignatureV1(skey)
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := fnote.VKeyToCosignatureV1(plain)
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Minute)
	signed, err := note.Sign(&note.Note{Text: text}, theirs)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := Parse([]string{"witness T " + vkey, "quorum T"})
	if err != nil {
		t.Fatalf("the key of a witness as they write it: %v", err)
	}
	if policy.Witnesses[0].Key.String() != vkey {
		t.Errorf("we write %s, they %s", policy.Witnesses[0].Key, vkey)
	}
	by, err := policy.Read(signed)
	if err != nil || len(by) != 1 || by[0].Time.Before(before) || !strings.HasSuffix(string(signed), by[0].Line) {
		t.Fatalf("%+v, %v", by, err)
	}

	key, ours := witnessKey("ours.example", 3)
	file := fmt.Sprintf("%s\n%s", text, cosignature(key, ours, text, 1700000000))
	verifier, err := fnote.NewVerifierForCosignatureV1(ours)
	if err != nil {
		verifier, err = fnote.NewVerifier(ours)
	}
	if err != nil {
		t.Fatalf("the key of a witness as we write it: %v", err)
	}
	n, err := note.Open([]byte(file), note.VerifierList(verifier))
	if err != nil {
		t.Fatal(err)
	}
	at, err := fnote.CoSigV1Timestamp(n.Sigs[0])
	if err != nil || !at.Equal(time.Unix(1700000000, 0)) {
		t.Errorf("%v, %v", at, err)
	}
}
