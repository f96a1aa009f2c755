// Package rangeproof is a query answered with nothing left out: all leaves of a run of a log, among which whoever reads them finds
// the matches himself. The format is docs/formats/range.md; package evidence says who vouches for the log. Pure: no I/O, no clock.
package rangeproof

// Kinds of parts of an evidence file.
const (
	KindLeaves = 14 // a run of leaves
	KindSigned = 15 // frames of the run before, as their writers signed them
	KindLogs   = 18 // lines of the list of logs before
	KindTimes  = 19 // of what times the commits of a log are
)
