// Package tiles serves the logs of an archive as c2sp.org/tlog-tiles, which tools that know nothing of Stele read, and
// compares two copies of them: a fork is evidence by itself. It makes tiles of the archive's objects, checks them, and
// needs the trust file only.
package tiles
