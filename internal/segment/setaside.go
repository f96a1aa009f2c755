package segment

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"

	"github.com/stelelog/stele/internal/commit"
)

// SetAside is a line of a quarantine object: a message that is no valid frame of an authentic stream.
type SetAside struct {
	Lane   string       `json:"lane"`
	Offset int64        `json:"offset"`
	Time   time.Time    `json:"time"`
	Reason string       `json:"reason"`
	Length int          `json:"length"`
	SHA256 commit.Hex32 `json:"sha256"`
	Sealed []byte       `json:"sealed,omitempty"` // the message, to the newest read key; nil past the quota of the segment
}

// AppendSetAside writes a line.
func AppendSetAside(dst []byte, s *SetAside) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(s)
	return b.Bytes(), err
}

// ParseSetAside reads the lines of a quarantine object.
func ParseSetAside(data []byte) (lines []SetAside, err error) {
	for line := range bytes.Lines(data) {
		var s SetAside
		if !bytes.HasSuffix(line, []byte("\n")) {
			return nil, errors.New("segment: quarantine: the last line does not end")
		}
		if err := json.Unmarshal(line, &s); err != nil {
			return nil, errors.Join(errors.New("segment: quarantine: a line is no message"), err)
		}
		lines = append(lines, s)
	}
	return lines, nil
}
