package main

import (
	"bytes"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kfake"
)

// TestEveryVerbAnswersWithOneObject runs each verb with --json, with nothing set up and in an archive: programs get exactly
// one object, whose name and exit code are those of the run.
func TestEveryVerbAnswersWithOneObject(t *testing.T) {
	dir := t.TempDir()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	topic := "kafka://" + broker.ListenAddrs()[0] + "/chat"
	at := func(name string) string { return filepath.Join(dir, name) }
	all := []struct {
		verb string // its name in the object
		args string
		exit int
	}{
		{"init", "init file://" + at("archive") + " --out " + dir, 0},
		{"env", "env", 0},
		{"key-add", "key add writer checkout", 0},
		{"key-list", "key list", 0},
		{"key-renew", "key renew writer checkout", 0},
		{"key-revoke", "key revoke writer checkout", 0},
		{"topics-create", "topics create --from " + topic, 0},
		{"topics-check", "topics check --from " + topic, 0},
		{"capture", "capture", 0},
		{"spool-drain", "spool drain " + at("spool") + " --to " + topic, 0},
		{"doctor", "doctor", 0},
		{"verify", "verify", 0},
		{"audit", "audit", 0},
		{"audit-ack", "audit ack 00000000000000000000000000000000 --reason lost", exitFailed},
		{"segments", "segments", 0},
		{"quarantine", "quarantine", 0},
		{"export-tiles", "export tiles " + at("tiles"), 0},
		{"diff", "diff file://" + at("archive") + " file://" + at("archive"), 0},
		{"search", "search", 0},
		{"show", "show nothing", exitFailed},
		{"prove", "prove 00000000000000000000000000000000 --out " + at("evidence"), exitFailed},
		{"check", "check " + at("evidence"), exitFailed},
		{"restore", "restore --out " + at("restored"), 0},
		{"key-new", "key new approver anna --out " + at("anna.stele"), 0},
		{"policy-show", "policy show", 0},
		{"policy-propose", "policy propose nothing", exitFailed},
		{"policy-approve", "policy approve 00000000", exitFailed},
		{"erase-request", "erase request --class state --out " + at("request.json"), 0},
		{"erase-approve", "erase approve 00000000", exitFailed},
		{"erase-reject", "erase reject 00000000", exitFailed},
		{"erase-status", "erase status", 0},
		{"erase-certificate", "erase certificate 00000000 --out " + at("certificate"), exitFailed},
		{"hold-place", "hold place --subject user-17 --out " + at("hold.json"), 0},
		{"hold-release", "hold release 00000000", exitFailed},
		{"hold-list", "hold list", 0},
		{"version", "version", 0},
	}
	for _, run := range all {
		answerOf(t, run.verb, run.args, at("stele.yaml"), run.exit)
	}
	verbs(new(app).root(), func(cmd *cobra.Command) {
		if cmd.Name() == "help" || cmd.Parent().Name() == "completion" {
			return // they are for people and for shells
		}
		path := strings.TrimPrefix(cmd.CommandPath(), "stele ")
		answerOf(t, verbName(cmd), path, "", anyExit)
		answerOf(t, verbName(cmd), path+" --nonsense", at("stele.yaml"), exitUsage)
	})
}

const anyExit = -1

// answerOf runs a verb and wants one object.
func answerOf(t *testing.T, verb, args, config string, code int) {
	t.Helper()
	env := func(name string) (string, bool) {
		if name != "STELE_CONFIG" || config == "" || verb == "init" {
			return "", false
		}
		return config, true
	}
	var stdout, stderr bytes.Buffer
	got := run(t.Context(), append(strings.Fields(args), "--json"), env, strings.NewReader(`{"kind":"input"}`), &stdout, &stderr)
	if got != code && code != anyExit {
		t.Errorf("stele %s (config %q): exit code %d, want %d\n%s%s", args, config, got, code, &stdout, &stderr)
	}
	var object struct {
		Stele, Error, Hint string
		Exit               *int
	}
	dec := json.NewDecoder(&stdout)
	if err := dec.Decode(&object); err != nil {
		t.Errorf("stele %s: %v\n%s", args, err, &stderr)
		return
	}
	if err := dec.Decode(new(any)); err != io.EOF {
		t.Errorf("stele %s: more than one object: %v", args, err)
	}
	told := object.Error != "" || verb == "doctor" && got == exitFailed // its checks say what is wrong
	if object.Stele != verb+"/v1" || object.Exit == nil || *object.Exit != got || told != (got != 0) {
		t.Errorf("stele %s answers with %+v", args, object)
	}
}
