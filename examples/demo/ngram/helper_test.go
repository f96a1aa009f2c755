package ngram

import (
	"os"
	"path"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
)

// library is a part of the standard library, large enough to be interesting and
// small enough to be read again for each run under the race detector.
func library(t testing.TB) fstest.MapFS {
	t.Helper()
	root, err := FindGOROOT(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fsys := fstest.MapFS{}
	for _, dir := range []string{"src/bufio", "src/io", "src/net/http", "src/strings", "src/sync"} {
		entries, err := os.ReadDir(path.Join(root, dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".go") {
				continue
			}
			data, err := os.ReadFile(path.Join(root, dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			fsys[path.Join(dir, e.Name())] = &fstest.MapFile{Data: data}
		}
	}
	return fsys
}

var trained struct {
	once     sync.Once
	passages []Passage
	model    *Model
	index    *Index
	err      error
}

// shared returns a model and an index of the library.
func shared(t testing.TB) (*Model, *Index) {
	t.Helper()
	trained.once.Do(func() {
		if trained.passages, trained.err = ReadDocs(library(t)); trained.err != nil {
			return
		}
		trained.model, trained.err = Train(trained.passages)
		trained.index = NewIndex(trained.passages)
	})
	if trained.err != nil {
		t.Fatal(trained.err)
	}
	return trained.model, trained.index
}

// generate runs a generation to its end.
func generate(t testing.TB, m *Model, prompt string, o Options) (text string, all []Token) {
	t.Helper()
	var b strings.Builder
	for token, err := range m.Generate(t.Context(), prompt, o) {
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(token.Text)
		all = append(all, token)
	}
	return b.String(), all
}
