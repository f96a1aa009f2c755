// Package merkle is the arithmetic of an append-only log: the hash tree of
// RFC 6962, its growing right edge, proofs that a record is in a tree and that
// one tree is a prefix of another, signed tree heads and proof files.
//
// The package is pure. It does no I/O, reads no clock, keeps no global state
// and starts no goroutine; whoever owns the bytes passes them in. All values
// are plain data: they may be copied by assignment, and are safe for
// concurrent use as long as nobody writes to them.
//
// # Growing a tree
//
// A [Frontier] holds what is needed to append to a tree of any size, at most
// 63 hashes. [Frontier.AppendLevels] also hands out every interior node that
// an append completes, in dense rows, so that a caller can keep them and later
// answer any proof with a few reads. [Root] hashes a finished list of leaves.
//
// # Proving and verifying
//
// [InclusionNodes] and [ConsistencyNodes] say which nodes a proof needs before
// anything is read; [ProveInclusion] and [ProveConsistency] ask their
// [NodeReader] for all of them in one call. [InclusionProof.Verify] and
// [ConsistencyProof.Verify] need neither reader nor tree. Proofs may come from
// an attacker: a proof of the wrong shape is refused before anything is
// hashed, and no proof makes them panic.
//
// # Tree heads and proof files
//
// A [Checkpoint] is a tree head that is signed and opened as a
// c2sp.org/tlog-checkpoint, a [TLogProof] is a c2sp.org/tlog-proof file: one
// inclusion proof with the checkpoint that it leads to.
//
// # Errors
//
// An input that cannot be what it claims to be (text that does not parse, an
// index outside its tree, a path of the wrong length) is an error that wraps
// [ErrInvalid]. A well-formed proof that leads somewhere else is a
// [*MismatchError]. Signatures that are missing or wrong are reported by the
// error types of golang.org/x/mod/sumdb/note, wrapped.
//
// The bytes are specified in docs/formats/tree.md.
package merkle
