package segment

// flat reads FlatBuffers that may hold anything: what lies outside gives zero and sets broken.
type flat struct {
	b      []byte
	broken bool
}

func (f *flat) bytes(at, n int) []byte {
	if at < 0 || n < 0 || at > len(f.b) || n > len(f.b)-at {
		f.broken = true
		return nil
	}
	return f.b[at : at+n]
}

// uint reads an integer of n bytes, at most 8.
func (f *flat) uint(at, n int) (v uint64) {
	for i, b := range f.bytes(at, n) {
		v |= uint64(b) << (8 * i)
	}
	return v
}

// follow returns the place that the offset at a place leads to.
func (f *flat) follow(at int) int { return at + int(f.uint(at, 4)) }

// table is a table in a FlatBuffer; the zero table has no fields.
type table struct {
	f          *flat
	at, vtable int
	slots      int // fields that the vtable has room for
}

func (f *flat) root() table { return f.table(f.follow(0)) }

func (f *flat) table(at int) table {
	vtable := at - int(int32(f.uint(at, 4)))
	return table{f, at, vtable, int(f.uint(vtable, 2))/2 - 2}
}

// field returns where field n lies, or 0 if it is left out.
func (t table) field(n int) int {
	if t.f == nil || n >= t.slots {
		return 0
	}
	if off := int(t.f.uint(t.vtable+4+2*n, 2)); off != 0 {
		return t.at + off
	}
	return 0
}

// uint is field n, an integer of width bytes; left out, it is zero.
func (t table) uint(n, width int) uint64 {
	if at := t.field(n); at != 0 {
		return t.f.uint(at, width)
	}
	return 0
}

func (t table) table(n int) table {
	if at := t.field(n); at != 0 {
		return t.f.table(t.f.follow(at))
	}
	return table{}
}

// vector returns the place of the first of count elements of width bytes.
func (t table) vector(n, width int) (first, count int) {
	at := t.field(n)
	if at == 0 {
		return 0, 0
	}
	at = t.f.follow(at)
	count = int(t.f.uint(at, 4))
	if t.f.bytes(at+4, count*width) == nil {
		return 0, 0
	}
	return at + 4, count
}

func (t table) text(n int) string {
	first, count := t.vector(n, 1)
	if count == 0 {
		return ""
	}
	return string(t.f.b[first : first+count])
}

// tables calls visit for each element of a vector of tables.
func (t table) tables(n int, visit func(i int, e table)) {
	first, count := t.vector(n, 4)
	for i := range count {
		visit(i, t.f.table(t.f.follow(first+4*i)))
	}
}
