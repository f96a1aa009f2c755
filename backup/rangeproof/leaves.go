package rangeproof

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"sort"
	"time"

	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

// Leaves writes a run of leaves of a log.
type Leaves struct {
	query  Query
	rows   *leafRows
	first  uint64
	head   []byte
	at     merkle.Checkpoint
	hashes []merkle.Hash

	// Matches are the indexes in the log of the leaves that the query selects.
	Matches []uint64
}

// NewLeaves begins with the leaf first of the log that head is a signed checkpoint of. It does not look at the signature.
func NewLeaves(head []byte, query Query, first uint64) (*Leaves, error) {
	x := &Leaves{query: query, rows: newLeafRows(), first: first, head: head}
	text, _, _ := bytes.Cut(head, []byte("\n\n"))
	if err := x.at.UnmarshalText(append(bytes.Clone(text), '\n')); err != nil {
		return nil, err
	}
	_, err := query.text()
	return x, err
}

// Add appends the next leaf, and does not keep its bytes.
func (x *Leaves) Add(leafdata []byte) error {
	l, err := record.Parse(leafdata)
	if err != nil {
		return err
	}
	if x.query.matches(&l) {
		x.Matches = append(x.Matches, x.first+uint64(len(x.hashes)))
	}
	x.rows.add(&l)
	x.hashes = append(x.hashes, merkle.LeafHash(leafdata))
	return nil
}

// Size is about how many bytes the leaves take.
func (x *Leaves) Size() int { return x.rows.size() }

// Marshal writes the leaves. read gives the nodes of the tree outside of them. It fails if all of it does not give the root of the head.
func (x *Leaves) Marshal(read merkle.NodeReader) ([]byte, error) {
	end := x.first + uint64(len(x.hashes))
	if len(x.hashes) == 0 || end > x.at.Size {
		return nil, fmt.Errorf("answer: leaves %d to %d are not in a tree of %d", x.first, end, x.at.Size)
	}
	left := leftNodes(x.first)
	nodes := append(left, rightNodes(end, x.at.Size)...)
	hashes := make([]merkle.Hash, len(nodes))
	if len(nodes) > 0 {
		if err := read(nodes, hashes); err != nil {
			return nil, err
		}
	}
	if root, err := rangeRoot(x.first, x.at.Size, hashes, x.hashes); err != nil || root != x.at.Root {
		return nil, fmt.Errorf("answer: leaves %d to %d of %s do not give the root of its head (%w)", x.first, end-1, x.at.Origin, err)
	}
	query, err := x.query.text()
	if err != nil {
		return nil, err
	}
	data := append(binary.AppendUvarint(nil, uint64(len(x.head))), x.head...)
	data = append(binary.AppendUvarint(data, uint64(len(query))), query...)
	data = binary.AppendUvarint(binary.AppendUvarint(data, x.first), uint64(len(x.hashes)))
	for _, h := range hashes {
		data = append(data, h[:]...)
	}
	return x.rows.append(data), nil
}

// leftNodes are the nodes that [0, first) splits into.
func leftNodes(first uint64) (nodes []merkle.Node) {
	for level := bits.Len64(first) - 1; level >= 0; level-- {
		if first>>level&1 == 1 {
			nodes = append(nodes, merkle.Node{Level: level, Index: first>>level - 1})
		}
	}
	return nodes
}

// rightNodes are the nodes that [end, size) splits into.
func rightNodes(end, size uint64) (nodes []merkle.Node) {
	for end < size {
		level := min(bits.TrailingZeros64(end), bits.Len64(size-end)-1)
		nodes = append(nodes, merkle.Node{Level: level, Index: end >> level})
		end += 1 << level
	}
	return nodes
}

// rangeRoot is the root of a tree of which leaves from first on are known, and all around them by nodes.
func rangeRoot(first, size uint64, around, leaves []merkle.Hash) (merkle.Hash, error) {
	f, right, err := edgeBefore(first, around)
	if err != nil {
		return merkle.Hash{}, err
	}
	f.Append(leaves...)
	return rootBehind(&f, right, size)
}

// edgeBefore is the tree of what stands before leaf first, and the nodes that stand behind the leaves.
func edgeBefore(first uint64, around []merkle.Hash) (f merkle.Frontier, right []merkle.Hash, err error) {
	n := bits.OnesCount64(first)
	if len(around) < n {
		return f, nil, errRows
	}
	f, err = merkle.NewFrontier(first, around[:n])
	return f, around[n:], err
}

// rootBehind is the root with the nodes behind the leaves.
func rootBehind(f *merkle.Frontier, behind []merkle.Hash, size uint64) (merkle.Hash, error) {
	right := rightNodes(f.Size(), size)
	if len(behind) != len(right) {
		return merkle.Hash{}, errRows
	}
	for i, node := range right {
		if err := f.AppendNode(node.Level, behind[i]); err != nil {
			return merkle.Hash{}, err
		}
	}
	return f.Root(), nil
}

// Run is a run of leaves that was read.
type Run struct {
	Head   []byte            // signed checkpoint of its log; the signature was not looked at
	At     merkle.Checkpoint // what it says
	Query  Query
	First  uint64 // leaf
	Leaves uint64
	// Records are how many of the leaves are records, and Matches those that the query selects.
	Records uint64
	Matches []Match

	text   []byte // of the query
	hashes []merkle.Hash
	seqs   []seqRun
}

// seqRun is leaves of a stream that follow each other: what the frames of leaves are found by.
type seqRun struct {
	from   uint64 // the first of the leaves shown is 0
	stream [16]byte
	seq    uint64
}

// Match is a record that a query selects, by what is in clear.
type Match struct {
	Index  uint64            `json:"index"` // of its leaf in the log
	ID     string            `json:"id"`    // hex
	Kind   string            `json:"kind"`
	Time   time.Time         `json:"time"` // by the clock of the writer
	Class  string            `json:"class"`
	Stream string            `json:"stream"` // hex
	Seq    uint64            `json:"seq"`
	Scope  string            `json:"scope"`           // hex
	Clear  map[string]string `json:"clear,omitempty"` // operational attributes, by name
	Hash   merkle.Hash       `json:"hash"`            // of the leaf
	Signed bool              `json:"signed"`          // the file that it is in shows the signature of its writer
}

// Range is an answer that holds: a run of leaves of a log, all of which are shown, and what the query selects among them.
type Range struct {
	Log     string  `json:"log"` // origin
	First   uint64  `json:"first"`
	Leaves  uint64  `json:"leaves"`  // from First on
	Size    uint64  `json:"size"`    // of the log, by the head under which they are shown
	Records uint64  `json:"records"` // among the leaves
	Query   Query   `json:"query"`
	Matches []Match `json:"matches"`
}

// Summary says how far the ranges of a file answer their query.
type Summary struct {
	Query   Query     `json:"query"`
	Matches uint64    `json:"matches"`
	Signed  uint64    `json:"signed"`         // of these, with the signature of their writer
	AsOf    time.Time `json:"as_of,omitzero"` // of the list of logs, by the clock of the compactor that signed it; zero without one
	Logs    []Log     `json:"logs"`           // that the list has; without one, those of the ranges
}

// Lacks says what an answer lacks for whoever asked a question: it answers another one, or its list of logs is of a time before asOf. A nil asked and a
// zero asOf stand for any; a nil Summary answers nothing.
func (s *Summary) Lacks(asked *Query, asOf time.Time) (lacks []string) {
	if s == nil {
		return []string{"it answers no question"}
	}
	if asked != nil && !asked.Equal(s.Query) {
		lacks = append(lacks, fmt.Sprintf("it answers another question: %s, not %s; 'stele search --prove' answers that one", s.Query, *asked))
	}
	if s.AsOf.Before(asOf) {
		lacks = append(lacks, "it is older than "+asOf.UTC().Format(time.RFC3339))
	}
	return lacks
}

// Log says how much of a log is shown.
type Log struct {
	Log   string `json:"log"`   // origin
	Size  uint64 `json:"size"`  // by the list of logs, or by the head of its ranges
	Shown uint64 `json:"shown"` // leaves
}

// Cost is what an answer takes.
type Cost struct {
	Leaves   uint64   `json:"leaves"`           // that have to be shown
	Segments int      `json:"segments"`         // whose indexes have to be read
	Read     int64    `json:"read"`             // bytes of them
	File     int64    `json:"file"`             // bytes that the file will have at most, roughly
	Logs     []string `json:"logs"`             // origins
	Open     uint64   `json:"not_yet_provable"` // leaves behind the newest heads in the control log
}

// Parse reads a run, and checks that its leaves give the root of the head that it brings. Who signed that is for the caller to ask.
func Parse(data []byte) (*Run, error) {
	c := cursor{b: data}
	r := &Run{Head: c.bv(), text: c.bv(), First: c.uv(), Leaves: c.uv()}
	if c.broken {
		return nil, errRows
	}
	var err error
	if r.Query, err = parseQuery(r.text); err != nil {
		return nil, err
	}
	text, _, ok := bytes.Cut(r.Head, []byte("\n\n"))
	if !ok {
		return nil, errRows
	}
	if err := r.At.UnmarshalText(append(bytes.Clone(text), '\n')); err != nil {
		return nil, err
	}
	if r.Leaves == 0 || r.Leaves > uint64(len(data)) || r.First > r.At.Size || r.Leaves > r.At.Size-r.First {
		return nil, fmt.Errorf("leaves from %d on, %d of them, are not in a tree of %d", r.First, r.Leaves, r.At.Size)
	}
	around := make([]merkle.Hash, bits.OnesCount64(r.First)+len(rightNodes(r.First+r.Leaves, r.At.Size)))
	for i := range around {
		around[i] = merkle.Hash(c.bytes(uint64(len(merkle.Hash{}))))
	}
	if c.broken {
		return nil, errRows
	}
	return r, r.rows(c.b, around)
}

// rows reads the leaves, and finds the matches.
func (r *Run) rows(raw []byte, around []merkle.Hash) error {
	f, right, err := edgeBefore(r.First, around)
	if err != nil {
		return err
	}
	r.hashes = make([]merkle.Hash, 0, r.Leaves)
	shared := sharedText{hex: map[[16]byte]string{}, clear: map[record.Clear]map[string]string{}}
	err = eachLeaf(raw, r.Leaves, func(i uint64, l *record.Leaf, leafdata []byte) {
		h := merkle.LeafHash(leafdata)
		f.Append(h)
		r.hashes = append(r.hashes, h)
		if n := len(r.seqs); n == 0 || r.seqs[n-1].stream != l.Stream || r.seqs[n-1].seq+(i-r.seqs[n-1].from) != l.Seq {
			r.seqs = append(r.seqs, seqRun{i, l.Stream, l.Seq})
		}
		if l.Type == record.Plain {
			r.Records++
		}
		if r.Query.matches(l) {
			r.Matches = append(r.Matches, shared.match(l, r.First+i, h))
		}
	})
	if err != nil {
		return err
	}
	root, err := rootBehind(&f, right, r.At.Size)
	if err == nil && root != r.At.Root {
		err = errors.New("its leaves do not give the root of its head")
	}
	return err
}

// sharedText keeps what many matches have in common once: rows that repeat are few bytes in a file.
type sharedText struct {
	hex   map[[16]byte]string
	clear map[record.Clear]map[string]string
}

func (s *sharedText) of(id [16]byte) string {
	text, ok := s.hex[id]
	if !ok {
		text = hex.EncodeToString(id[:])
		s.hex[id] = text
	}
	return text
}

func (s *sharedText) match(l *record.Leaf, index uint64, hash merkle.Hash) Match {
	return Match{Index: index, ID: hex.EncodeToString(l.ID[:]), Kind: record.KindNames()[l.Kind], Time: time.Unix(0, l.Time).UTC(), Class: l.Class,
		Stream: s.of(l.Stream), Seq: l.Seq, Scope: s.of(l.Scope), Hash: hash, Clear: s.clearOf(&l.Clear)}
}

// clearOf are values by name; nil if there are none. Nobody changes them.
func (s *sharedText) clearOf(c *record.Clear) map[string]string {
	if *c == (record.Clear{}) {
		return nil
	}
	m, ok := s.clear[*c]
	if !ok {
		m = map[string]string{}
		for i, name := range [...]string{"operation", "provider", "model", "finish_reason", "error_type", "release"} {
			if c[i] != "" {
				m[name] = c[i]
			}
		}
		s.clear[*c] = m
	}
	return m
}

// Root is the root over the hashes of the matches.
func (r *Run) Root() merkle.Hash {
	hashes := make([]merkle.Hash, len(r.Matches))
	for i := range hashes {
		hashes[i] = r.Matches[i].Hash
	}
	return merkle.Root(hashes)
}

// Frame is the root over the hashes of count leaves from index on, and which of the matches are among them. It reports whether the
// leaves are shown, and are those of the stream from seq on.
func (r *Run) Frame(index, count uint64, stream [16]byte, seq uint64) (root merkle.Hash, matches []Match, ok bool) {
	if index < r.First || count > r.Leaves || index-r.First > r.Leaves-count {
		return root, nil, false
	}
	at := index - r.First
	next := sort.Search(len(r.seqs), func(i int) bool { return r.seqs[i].from > at })
	run := &r.seqs[next-1]
	if run.stream != stream || run.seq+(at-run.from) != seq || next < len(r.seqs) && r.seqs[next].from < at+count {
		return root, nil, false
	}
	from := sort.Search(len(r.Matches), func(i int) bool { return r.Matches[i].Index >= index })
	to := sort.Search(len(r.Matches), func(i int) bool { return r.Matches[i].Index >= index+count })
	return merkle.Root(r.hashes[at : at+count]), r.Matches[from:to], true
}

// Text is the query as it stands in the run.
func (r *Run) Text() string { return string(r.text) }

// Behind reports whether a run follows another one, of the same log or of one with a greater origin.
func (r *Run) Behind(last *Run) bool {
	return last.At.Origin < r.At.Origin || last.At.Origin == r.At.Origin && last.First+last.Leaves <= r.First
}
