// Package benchmarks measures the whole: what an archive weighs against what was captured, and how long a record takes
// to be committed and provable. Its code is all in tests; RESULTS.md holds the figures, and the nested module peers
// compares capture with other libraries.
package benchmarks
