// Package datalog follows the logs of records in their store: which there are, their commits as one chain, and the objects
// that commits name, checked against their digests. What they mean is docs/formats/commit.md. It is the pair of package
// ledger, which does the same for the control log.
package datalog
