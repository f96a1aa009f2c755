// Package compact moves what writers sent, from Kafka or a spool, into an archive. A Compactor checks every signature and
// chain, packs sealed records into segments, commits them under object lock, and puts the heads of logs into the control
// log, before witnesses if the trust file names some; it opens no payload. docs/formats/commit.md has the protocol.
package compact
