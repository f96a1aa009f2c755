// Package evidence is one file that shows what an archive holds, to somebody who has the trust file and nothing else: no
// archive, no network, no account. The format is docs/formats/evidence.md. Pure: no I/O, no clock.
package evidence
