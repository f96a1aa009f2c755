package segment

import (
	"github.com/apache/arrow/go/v17/arrow"

	"github.com/stelelog/stele/internal/frame"
)

// dictionary numbers values in the order in which they come.
type dictionary[K comparable] struct {
	codes map[K]uint32
	keys  []K
}

func (d *dictionary[K]) reset() {
	if d.codes == nil {
		d.codes = map[K]uint32{}
	}
	clear(d.codes)
	clear(d.keys)
	d.keys = d.keys[:0]
}

func (d *dictionary[K]) code(k K) uint32 {
	c, ok := d.codes[k]
	if !ok {
		c = uint32(len(d.keys))
		d.codes[k] = c
		d.keys = append(d.keys, k)
	}
	return c
}

// textValues is the dictionary of texts as Arrow has it.
func textValues(keys []string) arrow.Array {
	offsets := make([]byte, 4, 4*(len(keys)+1))
	var values []byte
	for _, k := range keys {
		values = append(values, k...)
		offsets = le.AppendUint32(offsets, uint32(len(values)))
	}
	return wrap(arrow.BinaryTypes.String, len(keys), nil, offsets, values)
}

// idValues is the dictionary of ids as Arrow has it.
func idValues(keys [][16]byte) arrow.Array {
	values := make([]byte, 0, 16*len(keys))
	for i := range keys {
		values = append(values, keys[i][:]...)
	}
	return wrap(&arrow.FixedSizeBinaryType{ByteWidth: 16}, len(keys), nil, values)
}

// numbers maps the strings of one frame to the codes of one dictionary. It looks a string up when it is first met, so
// that a dictionary holds only what its column uses.
type numbers [256]int32

func (m *numbers) reset(strings int) {
	for i := range m[:strings] {
		m[i] = -1
	}
}

// put writes the codes of a column of string numbers to dst, two bytes each.
func (m *numbers) put(dst, column []byte, f *frame.Frame, d *dictionary[string]) {
	for i, s := range column {
		c := m[s]
		if c < 0 {
			c = int32(d.code(f.Strings[s]))
			m[s] = c
		}
		le.PutUint16(dst[2*i:], uint16(c))
	}
}
