package logpipe

import "strconv"

// maxOffsets bounds the offsets that a call keeps, so that no stream is too long for its attributes.
const maxOffsets = 2048

// offsets notes when the bytes of a stream came: of every chunk at first, then, as there are too many, of every second,
// fourth, and so on, and always of the last.
type offsets struct {
	kept  [][2]int64 // milliseconds, bytes so far
	last  [2]int64
	count int
	shift int // chunk n is kept if n is a multiple of 1<<shift, counted from 1
}

func (o *offsets) add(ms, bytes int64) {
	o.count++
	o.last = [2]int64{ms, bytes}
	if o.count&(1<<o.shift-1) != 0 {
		return
	}
	if len(o.kept) == maxOffsets {
		for i := range maxOffsets / 2 {
			o.kept[i] = o.kept[2*i+1]
		}
		o.kept = o.kept[:maxOffsets/2]
		o.shift++
		if o.count&(1<<o.shift-1) != 0 {
			return
		}
	}
	o.kept = append(o.kept, o.last)
}

// json returns [[milliseconds, bytes], …].
func (o *offsets) json() []byte {
	all := o.kept
	if n := len(all); n == 0 || all[n-1] != o.last {
		all = append(all[:n:n], o.last)
	}
	out := make([]byte, 0, 16*len(all))
	for i, at := range all {
		sep := byte(',')
		if i == 0 {
			sep = '['
		}
		out = append(out, sep, '[')
		out = strconv.AppendInt(out, at[0], 10)
		out = append(out, ',')
		out = strconv.AppendInt(out, at[1], 10)
		out = append(out, ']')
	}
	return append(out, ']')
}
