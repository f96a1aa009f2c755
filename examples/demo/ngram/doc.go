// Package ngram is a small but real language model: an interpolated 4-gram
// over words and punctuation, trained in a second or two on the documentation
// that every Go installation carries, with a BM25 index over the same text for
// retrieval.
//
// It exists so that the demo and the tests can run inference without a network,
// a download or an accelerator. Its answers read like Go documentation that
// lost its thread; its probabilities, its sampling, its cancellation and its
// token counts are those of a language model.
//
//	root, err := ngram.FindGOROOT(ctx)
//	passages, err := ngram.ReadDocs(os.DirFS(root))
//	model, err := ngram.Train(passages)
//	index := ngram.NewIndex(passages)
//
//	hits := index.Search("how does bufio.Scanner split lines", 3)
//	for token, err := range model.Generate(ctx, "", ngram.Options{Seed: 1, Context: hits}) { … }
//
// The model is smoothed after Witten and Bell ("The zero-frequency problem",
// IEEE Transactions on Information Theory 37(4), 1991): at every order the
// number of distinct successors of a context is the weight of the next shorter
// one. Retrieved passages enter as a cache model (Kuhn and De Mori, "A
// cache-based natural language model", IEEE PAMI 12(6), 1990): a second, tiny
// set of counts that is asked before the large one at each order.
//
// [Model] and [Index] are immutable once built and safe for concurrent use.
// Everything is deterministic: the same files, prompt and [Options] give the
// same tokens.
package ngram
