package testbed

import (
	"net/http"
	"strings"
	"testing"
)

func TestVault(t *testing.T) {
	v := Vault(t, Dedicated())
	mount := v.Mount(t)
	make := func(name string) {
		v.Call(t, v.Root(), http.MethodPost, mount+"/keys/"+name, map[string]string{"type": "aes256-gcm96"}, nil)
	}
	keys := func() string {
		var answer struct{ Data struct{ Keys []string } }
		v.Call(t, v.Root(), http.MethodGet, mount+"/keys?list=true", nil, &answer)
		return strings.Join(answer.Data.Keys, " ")
	}
	make("one")
	snapshot := v.Snapshot(t)
	make("two")
	for what, end := range map[string]func() error{"stopped": v.Stop, "killed": v.Kill} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := v.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := keys(); got != "one two" {
			t.Errorf("%s and started again: keys %q", what, got)
		}
	}
	v.Restore(t, snapshot)
	if got := keys(); got != "one" {
		t.Errorf("after a restore: keys %q", got)
	}
}

func TestImportingLeavesOutLocalReplacements(t *testing.T) {
	const in = "module github.com/hashicorp/vault\n\ngo 1.25\n\nreplace github.com/hashicorp/vault/api => ./api\n\n" +
		"replace a.example/b => c.example/d v1.2.3\n\nrequire github.com/hashicorp/vault/api v1.0.0\n"
	out, err := importing([]byte(in), "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	text := string(out)
	for want, n := range map[string]int{
		"./api": 0, "a.example/b => c.example/d v1.2.3": 1, "github.com/hashicorp/vault v1.2.3": 1, "module stele.testbed/vault": 1,
		"github.com/hashicorp/vault/api v1.0.0": 1,
	} {
		if strings.Count(text, want) != n {
			t.Errorf("%q is not there %d times:\n%s", want, n, text)
		}
	}
	if _, err := importing([]byte("replace"), "v1"); err == nil {
		t.Error("took what is no go.mod")
	}
}
