// Package backup keeps sealed records where nobody can change them, and gives them back.
//
// A compact.Compactor takes what writers sent from Kafka or a spool, checks every signature and chain, and commits it in
// segments to a worm.Store under object lock; it opens no payload. A keys.Service takes in the wrapped keys. An [Archive]
// is opened with the trust file alone and verified with [Archive.Verify]; a [Reader] adds an identity that opens
// payloads, and finds and restores records.
//
// The objects and their rules are in docs/formats: segment.md, commit.md, control.md.
package backup
