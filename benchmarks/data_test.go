package benchmarks

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// answer is one line of the real data: what a model was asked, and what it answered.
type answer struct {
	Model       string `json:"model"`
	Instruction string `json:"instruction"`
	Output      string `json:"output"`
}

// dataDir is $STELE_DATA, else the folder shared/data beside the repository or above it. Without it the test is skipped,
// but not by oversight: CI has to say STELE_DATA=none.
func dataDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("STELE_DATA")
	if dir == "" {
		dir = above("shared/data")
	}
	if dir != "" && dir != "none" {
		return dir
	}
	const absent = "the real data is not here: set STELE_DATA to its folder"
	if os.Getenv("CI") == "true" && dir != "none" {
		t.Fatal(absent + ", or to none")
	}
	t.Skip(absent)
	return ""
}

// above looks for a folder in the working directory and those above it.
func above(name string) string {
	at, err := os.Getwd()
	for err == nil {
		dir := filepath.Join(at, filepath.FromSlash(name))
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
		if filepath.Dir(at) == at {
			break
		}
		at = filepath.Dir(at)
	}
	return ""
}

// answers reads n real answers, evenly from the whole, or all if there are fewer.
func answers(t testing.TB, n int) []answer {
	t.Helper()
	f, err := os.Open(filepath.Join(dataDir(t), "alpaca_eval", "inference.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all []answer
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var a answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if n >= len(all) {
		return all
	}
	some := make([]answer, 0, n)
	for i := range n {
		some = append(some, all[i*len(all)/n])
	}
	return some
}

// message, request and response are OpenAI's chat completions as clients and servers write them.
type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type request struct {
	Model    string    `json:"model"`
	Messages []message `json:"messages"`
}

type choice struct {
	Index        int     `json:"index"`
	Message      message `json:"message"`
	FinishReason string  `json:"finish_reason"`
}

type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

type response struct {
	ID      string   `json:"id"`
	Object  string   `json:"object"`
	Created int64    `json:"created"`
	Model   string   `json:"model"`
	Choices []choice `json:"choices"`
	Usage   usage    `json:"usage"`
}

// conversation is a session of some turns. Each request holds everything that was said before.
type conversation struct {
	turns   []answer
	said    []message
	subject string
	session string
}

// ask makes the request of the next turn.
func (c *conversation) ask(t testing.TB) []byte {
	turn := c.turns[len(c.said)/2]
	c.said = append(c.said, message{"user", turn.Instruction})
	return encode(t, request{turn.Model, c.said})
}

// reply makes the response to it.
func (c *conversation) reply(t testing.TB) []byte {
	n := len(c.said) / 2
	turn := c.turns[n]
	m := message{"assistant", turn.Output}
	prompt := 0
	for _, s := range c.said {
		prompt += len(s.Content) / 4
	}
	c.said = append(c.said, m)
	out := len(turn.Output) / 4
	return encode(t, response{fmt.Sprintf("chatcmpl-%s-%d", c.session, n), "chat.completion", 1_700_000_000 + int64(n), turn.Model,
		[]choice{{0, m, "stop"}}, usage{prompt, out, prompt + out}})
}

func encode(t testing.TB, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// conversations makes sessions of so many turns each from real answers. 200 subjects share them.
func conversations(all []answer, turns int) (out []*conversation) {
	for i := 0; i+turns <= len(all); i += turns {
		n := i / turns
		out = append(out, &conversation{turns: all[i:][:turns], subject: fmt.Sprintf("user-%03d", n%200), session: fmt.Sprintf("c%06d", n)})
	}
	return out
}
