package main

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// answer is what a verb has to say. As JSON it is an object; print is for people.
type answer interface {
	print(w io.Writer)
}

// verb makes a cobra function of one that answers. An answer may come with an error.
func (a *app) verb(f func(cmd *cobra.Command, args []string) (answer, error)) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ans, err := f(cmd, args)
		fail := a.judge(err)
		if ans == nil && fail == nil {
			return nil
		}
		out := a.stdout
		if a.streaming {
			out = a.stderr
		}
		if ans != nil && !a.json {
			ans.print(out)
		}
		if a.json {
			if err := writeObject(out, verbName(cmd), a.unread, ans, fail); err != nil {
				return &failure{exitFailed, err, ""}
			}
			a.answered = true
		}
		if fail == nil {
			return nil
		}
		return fail
	}
}

// finish says what went wrong, in JSON too if that was asked for, and returns the exit code.
func (a *app) finish(cmd *cobra.Command, args []string, err error) int {
	if err == nil {
		return exitOK
	}
	f, ours := err.(*failure)
	if !ours { // the command line did not get as far as a verb
		f = &failure{exitUsage, err, fmt.Sprintf("'%s --help' shows how it is used", cmd.CommandPath())}
	}
	if f.err != nil && !(a.streaming && a.answered) { // there the object is all that stderr holds
		fmt.Fprintf(a.stderr, "error: %s\n", redact(f.Error()))
		if f.hint != "" {
			fmt.Fprintf(a.stderr, "hint: %s\n", redact(f.hint))
		}
	}
	if (a.json || slices.Contains(args, "--json")) && !a.answered {
		_ = writeObject(a.stdout, verbName(cmd), a.unread, nil, f) // the exit code says it, too
	}
	return f.code
}

// verbName is the name in "stele": "key-add" for 'stele key add'.
func verbName(cmd *cobra.Command) string {
	words := strings.Fields(cmd.CommandPath())
	return strings.Join(words[min(1, len(words)-1):], "-")
}

// writeObject writes the one object of --json: "stele", "exit", the members of the answer, what went wrong, and
// "grants_unread" where the grants transport could not be read.
func writeObject(w io.Writer, verb, unread string, ans answer, fail *failure) error {
	head := struct {
		Stele string `json:"stele"`
		Exit  int    `json:"exit"`
		Error string `json:"error,omitempty"`
		Hint  string `json:"hint,omitempty"`
		// Unread says why keys were given out without what the grants transport holds.
		Unread string `json:"grants_unread,omitempty"`
	}{Stele: verb + "/v1", Unread: redact(unread)}
	if fail != nil {
		head.Exit = fail.code
		if fail.err != nil {
			head.Error, head.Hint = redact(fail.Error()), redact(fail.hint)
		}
	}
	object, err := encode(head)
	if err != nil {
		return err
	}
	if ans != nil {
		body, err := encode(ans)
		if err != nil {
			return err
		}
		if len(body) > len("{}") {
			object = append(append(object[:len(object)-1], ','), body[1:]...)
		}
	}
	_, err = w.Write(append(object, '\n'))
	return err
}

// encode writes JSON without the escapes that only web pages need.
func encode(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return []byte(strings.TrimSuffix(b.String(), "\n")), err
}

// done is the answer of a verb that has done all or nothing: none after an error.
func done(ans answer, err error) (answer, error) {
	if err != nil {
		return nil, err
	}
	return ans, nil
}

// redact makes one line of an error, and takes passwords out of URLs that somebody wrote where they do not belong. A
// password may hold the characters that part a URL, so all up to the last '@' goes.
func redact(s string) string {
	return regexp.MustCompile(`[a-z0-9]+://[^\s"']*@`).ReplaceAllStringFunc(strings.ReplaceAll(s, "\n", "; "), func(url string) string {
		scheme, _, _ := strings.Cut(url, "://")
		if scheme == "file" {
			return url
		}
		return scheme + "://***@"
	})
}
