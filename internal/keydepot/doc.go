// Package keydepot is where wrapped keys lie in the store of an archive: the chain of root records, packs of nodes, and
// lists of what was erased. The format is docs/formats/keys.md; what the bytes mean is for packages keyroot, keyring
// and keytrie. Reading needs no secret: [keyroot.Record.Public] shows to anybody which keys there are.
package keydepot
