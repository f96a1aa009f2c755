package ngram

import (
	"context"
	"errors"
	"math"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTokensJoinToText(t *testing.T) {
	for _, s := range []string{"", "a", "Split sets the [bufio.Scanner]'s rule: é_1 \u00a7 \xff, " + strings.Repeat("x", 100)} {
		var b strings.Builder
		tokens(s, func(t string) { b.WriteString(t) })
		if b.String() != s {
			t.Errorf("tokens of %q join to %q", s, b.String())
		}
	}
}

// TestProbabilitiesSumToOne asks for the whole vocabulary.
func TestProbabilitiesSumToOne(t *testing.T) {
	m, x := shared(t)
	cache := m.cache(x.Search("a Reader that buffers", 3))
	s := m.scratch.New().(*scratch)
	for _, prompt := range []string{"", "The", "A Reader", "the zero value for", "zyzzyva", "is never"} {
		for name, c := range map[string]*tables{"plain": {}, "with passages": cache} {
			m.rank(s, c, m.start(prompt), m.VocabularySize())
			sum := 0.0
			for _, c := range s.ranked {
				if c.probability() <= 0 {
					t.Fatalf("%q %s: %q has no probability", prompt, name, m.texts[c.token()])
				}
				sum += c.probability()
			}
			if len(s.ranked) != m.VocabularySize() || math.Abs(sum-1) > 1e-9 {
				t.Errorf("%q %s: %d tokens sum to %.12f", prompt, name, len(s.ranked), sum)
			}
		}
	}
}

// TestRankIsExact compares a short ranking with the head of the full one.
func TestRankIsExact(t *testing.T) {
	m, _ := shared(t)
	full, short := m.scratch.New().(*scratch), m.scratch.New().(*scratch)
	for _, prompt := range []string{"", "The", "of the", "ReadFrom reads data from"} {
		h := m.start(prompt)
		m.rank(full, &tables{}, h, m.VocabularySize())
		m.rank(short, &tables{}, h, 20)
		if !reflect.DeepEqual(short.ranked, full.ranked[:20]) {
			t.Errorf("%q: the best 20 are not the first of all", prompt)
		}
	}
}

func TestCandidateOrder(t *testing.T) {
	ascending := []candidate{newCandidate(0.1, 1), newCandidate(0.2, 9), newCandidate(0.2, 3), newCandidate(1, 65535)}
	for i := 1; i < len(ascending); i++ {
		if ascending[i-1] >= ascending[i] {
			t.Errorf("candidate %d is not larger than the one before", i)
		}
	}
	if c := newCandidate(0.3, 7); c.token() != 7 || math.Abs(c.probability()-0.3) > 1e-10 {
		t.Errorf("got %v, %v", c.token(), c.probability())
	}
}

func TestGenerateIsDeterministic(t *testing.T) {
	m, x := shared(t)
	again, err := Train(trained.passages)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{MaxTokens: 60, Temperature: 1, Seed: 11, Alternatives: 3, Context: x.Search("http client timeout", 3)}
	_, want := generate(t, m, "", o)
	var wg sync.WaitGroup
	for _, model := range []*Model{m, m, again} {
		wg.Go(func() {
			if _, got := generate(t, model, "", o); !reflect.DeepEqual(got, want) {
				t.Errorf("another text from the same seed")
			}
		})
	}
	wg.Wait()
	o.Seed++
	if _, got := generate(t, m, "", o); reflect.DeepEqual(got, want) {
		t.Errorf("the same text from another seed")
	}
}

func TestGenerateFinish(t *testing.T) {
	m, _ := shared(t)
	long := Options{MaxTokens: 200, MinTokens: 200, Temperature: 1, Seed: 5}
	text, all := generate(t, m, "", long)
	if len(all) != 200 || all[199].Finish != FinishLength {
		t.Fatalf("%d tokens, finish %q; want 200, length", len(all), all[len(all)-1].Finish)
	}
	for _, token := range all[:199] {
		if token.Finish != "" || token.Text == "" {
			t.Fatalf("token %+v before the end", token)
		}
	}
	short := long
	short.MinTokens = 0
	if _, all := generate(t, m, "", short); all[len(all)-1].Finish != FinishStop || all[len(all)-1].Text != "" {
		t.Errorf("free text ends with %+v after %d tokens; want an empty stop", all[len(all)-1], len(all))
	}
	// Any piece of the text, cut anywhere in its words, must end it.
	for _, at := range []int{0, 1, 7, len(text) / 2, len(text) - 5} {
		stop := text[at : at+5]
		o := long
		o.Stop = []string{"", "never to be met", stop}
		want, _, _ := strings.Cut(text, stop)
		got, all := generate(t, m, "", o)
		if got != want || all[len(all)-1].Finish != FinishStop {
			t.Errorf("stop %q: got %q (%s)\nwant %q", stop, got, all[len(all)-1].Finish, want)
		}
	}
}

func TestGenerateOptions(t *testing.T) {
	m, x := shared(t)
	greedy, all := generate(t, m, "A Reader", Options{MaxTokens: 30, Alternatives: 2})
	for _, token := range all {
		if token.Text != token.Alternatives[0].Text || token.LogProb != token.Alternatives[0].LogProb {
			t.Fatalf("greedy chose %+v", token)
		}
	}
	for name, o := range map[string]Options{
		"top-k 1":    {MaxTokens: 30, Temperature: 1, TopK: 1, Seed: 3},
		"top-p tiny": {MaxTokens: 30, Temperature: 1, TopP: 1e-9, Seed: 3},
		"cold":       {MaxTokens: 30, Temperature: 1e-3, Seed: 3},
	} {
		if got, _ := generate(t, m, "A Reader", o); got != greedy {
			t.Errorf("%s: %q, want the greedy %q", name, got, greedy)
		}
	}
	hits := x.Search("Mutex mutual exclusion lock", 2)
	if len(hits) == 0 {
		t.Fatal("no hits")
	}
	grounded, _ := generate(t, m, "", Options{MaxTokens: 30, Context: hits})
	if plain, _ := generate(t, m, "", Options{MaxTokens: 30}); grounded == plain {
		t.Errorf("passages do not change the text %q", plain)
	}
}

func TestGenerateCancel(t *testing.T) {
	m, _ := shared(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	n := 0
	var got error
	for _, err := range m.Generate(ctx, "", Options{MaxTokens: 1 << 30, MinTokens: 1 << 30, Temperature: 1}) {
		if got = err; err != nil {
			break
		}
		if n++; n == 10 {
			cancel(cause)
		}
	}
	if n != 10 || !errors.Is(got, cause) {
		t.Errorf("%d tokens, error %v; want 10, %v", n, got, cause)
	}
}

func TestSearch(t *testing.T) {
	_, x := shared(t)
	hits := x.Search("How does Scanner.Split of bufio work with ScanLines?", 3)
	if len(hits) != 3 || hits[0].Source != "bufio" || !strings.Contains(hits[0].Text, "ScanLines") {
		t.Errorf("got %+v", hits)
	}
	for i := 1; i < len(hits); i++ {
		if hits[i].Score > hits[i-1].Score {
			t.Errorf("hit %d is better than the one before", i)
		}
	}
	if again := x.Search("How does Scanner.Split of bufio work with ScanLines?", 3); !reflect.DeepEqual(hits, again) {
		t.Errorf("a second search differs")
	}
	if hits := x.Search("zyzzyva ?", 3); hits != nil {
		t.Errorf("hits without a word in common: %+v", hits)
	}
	if hits := x.Search("reader", 0); len(hits) != 0 {
		t.Errorf("k = 0 gives %d hits", len(hits))
	}
}

// TestWholeInstallation trains on everything, as the demo does.
func TestWholeInstallation(t *testing.T) {
	root, err := FindGOROOT(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	passages, err := ReadDocs(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	m, err := Train(passages)
	if err != nil {
		t.Fatal(err)
	}
	x := NewIndex(passages)
	t.Logf("%d passages, %d indexed, %.0f tokens, vocabulary %d, in %v",
		len(passages), x.Len(), m.total, m.VocabularySize(), time.Since(start))
	if m.total < 500_000 || x.Len() < 10_000 {
		t.Errorf("%.0f tokens and %d documents: the installation was not read", m.total, x.Len())
	}
}

func BenchmarkGenerate(b *testing.B) {
	m, x := shared(b)
	hits := x.Search("http client timeout", 3)
	n := 0
	for b.Loop() {
		for range m.Generate(b.Context(), "", Options{MaxTokens: 40, MinTokens: 40, Temperature: 1, Alternatives: 5, Context: hits, Seed: uint64(n)}) {
			n++
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "tokens/s")
}

func BenchmarkSearch(b *testing.B) {
	_, x := shared(b)
	for b.Loop() {
		x.Search("how does the http client handle a timeout of the server", 3)
	}
}
