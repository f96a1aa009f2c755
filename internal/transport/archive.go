package transport

// ArchiveOf is the archive id of a message that is a frame, a beat, grants or the end of a session, by its first bytes
// (docs/formats/grant.md). Nothing of it is checked; ok is false if the message is none of them.
func ArchiveOf(message []byte) (id [16]byte, ok bool) {
	if len(message) < 24 || string(message[4:8]) != "\x01\x00\x00\x00" {
		return id, false
	}
	switch string(message[:4]) {
	case "STLF", "STLB", "STLG", "STLE":
		return [16]byte(message[8:24]), true
	}
	return id, false
}
