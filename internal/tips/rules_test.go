package tips

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

// gapped is a stream of four frames of two leaves, of which the table has taken the first and the last.
type gapped struct {
	*writer
	table  *Table
	frames []frame.Draft
	heads  []merkle.Hash
}

func newGapped(t *testing.T) *gapped {
	t.Helper()
	g := &gapped{writer: newWriter(t, 1), table: newTable(nil)}
	open := own(record.Open, string(g.cert.Bytes()))
	for i := range 4 {
		d := frame.Draft{Archive: [16]byte{1}, Stream: [16]byte{1}, First: uint64(2 * i), Rows: []frame.Row{open, sampled(1)}}
		if i > 0 {
			d.Prev, d.Rows = g.heads[i-1], []frame.Row{sampled(2), sampled(3)}
		}
		raw := g.signed(t, d)
		g.frames, g.heads = append(g.frames, d), append(g.heads, frame.Head(raw))
		if i == 0 || i == 3 {
			g.take(t, raw, Accept)
		}
	}
	g.next, g.head = 8, g.heads[3]
	return g
}

// at is a frame of n leaves anywhere, that names the right head if there is one.
func (g *gapped) at(first uint64, n int) frame.Draft {
	d := frame.Draft{Archive: [16]byte{1}, Stream: [16]byte{1}, First: first, Prev: merkle.Hash{7}}
	if first > 0 && first%2 == 0 && first <= 8 {
		d.Prev = g.heads[first/2-1]
	}
	for range n {
		d.Rows = append(d.Rows, sampled(9))
	}
	return d
}

func (g *gapped) signed(t *testing.T, d frame.Draft) []byte {
	t.Helper()
	raw, _, err := d.Encode(nil, g.key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (g *gapped) take(t *testing.T, raw []byte, want Verdict) {
	t.Helper()
	if v, err := take(t, g.table, raw); v != want {
		t.Fatalf("verdict %d, want %d: %v", v, want, err)
	}
}

func (g *gapped) tip(t *testing.T) commit.Tip {
	t.Helper()
	tip, ok := g.table.Tip([16]byte{1})
	if !ok {
		t.Fatal("no such stream")
	}
	return tip
}

func own(kind record.Type, detail string) frame.Row {
	return frame.Row{Leaf: record.Leaf{Type: kind, Class: "default", Detail: []byte(detail)}, Block: -1}
}

func sampled(calls uint64) frame.Row {
	return own(record.Sampled, string(record.SampledDetail{Calls: calls}.Append(nil)))
}

func loss(count uint64) frame.Row {
	return own(record.Loss, string(record.LossDetail{Count: count, Reason: record.TooLarge}.Append(nil)))
}

func closing() frame.Row { return own(record.Close, string(record.CloseDetail{Reason: 1}.Append(nil))) }

func encap(n byte) []byte {
	return (&frame.EncapEntry{Day: uint16(n), Year: 2026, Enc: bytes.Repeat([]byte{n}, frame.EncapLen)}).Append(nil)
}

// TestFrameRules: what becomes of an authentic frame, by what it says and where it stands.
func TestFrameRules(t *testing.T) {
	same := func(*frame.Draft) {}
	rows := func(r ...frame.Row) func(*frame.Draft) { return func(d *frame.Draft) { d.Rows = r } }
	prev := func(h merkle.Hash) func(*frame.Draft) { return func(d *frame.Draft) { d.Prev = h } }
	g := newGapped(t)
	equivocation, after := ErrEquivocation.Error()+": ", "the stream goes on after its close"
	unfit, contradicts := equivocation+"late frame at ", equivocation+"at "
	for _, x := range []struct {
		name   string
		frame  frame.Draft
		change func(*frame.Draft)
		want   Verdict
		says   string
	}{
		{"next", g.at(8, 2), same, Accept, ""},
		{"behind a gap of one leaf", g.at(9, 2), same, Accept, ""},
		{"behind a gap, as if there was none", g.at(9, 2), prev(g.heads[3]), Accept, ""},
		{"next, of another history", g.at(8, 2), prev(g.heads[2]), Reject, equivocation + "previous head differs at 8"},
		{"of another archive", g.at(8, 2), func(d *frame.Draft) { d.Archive[0]++ }, Reject, "frame is for archive 0200"},
		{"of another partition", g.at(8, 2), func(d *frame.Draft) { d.Partition++ }, Reject, "partition 1"},
		{"of another stream", g.at(8, 2), func(d *frame.Draft) { d.Stream[0]++ }, Reject, "its first frame did not come"},
		{"an unknown entry", g.at(8, 2), func(d *frame.Draft) { d.Entries = [][]byte{{9}} }, Reject, "an entry is neither"},
		{"leaves of no class", g.at(8, 2), func(d *frame.Draft) { d.Rows[1].Class = "No Class" }, Reject, "row 1: record: "},
		{"ends in a close", g.at(8, 2), rows(sampled(1), closing()), Accept, ""},
		{"only a close", g.at(8, 2), rows(closing()), Accept, ""},
		{"begins with a close", g.at(8, 2), rows(closing(), sampled(1)), Reject, after},
		{"two closes", g.at(8, 2), rows(sampled(1), closing(), closing()), Reject, after},

		{"late, at the start of the gap", g.at(2, 2), same, Late, ""},
		{"late, at its end", g.frames[2], same, Late, ""},
		{"late, between", g.at(3, 2), same, Late, ""},
		{"late, with a close", g.at(2, 2), rows(sampled(1), closing()), Reject, after},
		{"late, of another history", g.at(2, 2), prev(g.heads[1]), Reject, unfit + "2 does"},
		{"late, behind the newest head", g.at(2, 2), prev(g.heads[3]), Reject, unfit + "2 does"},
		{"late, with another end", g.at(4, 2), same, Reject, unfit + "4 does"},
		{"late, and the whole gap at once", g.at(2, 4), same, Reject, unfit + "2 does"},
		{"late, with an unknown entry", g.at(2, 2), func(d *frame.Draft) { d.Entries = [][]byte{{9}} }, Reject, "an entry is neither"},

		{"from what there is into the gap", g.at(1, 2), same, Reject, contradicts + "1"},
		{"from the gap into what there is", g.at(5, 2), same, Reject, contradicts + "5"},
		{"over the gap", g.at(1, 6), same, Reject, contradicts + "1"},
		{"over the end", g.at(7, 2), same, Reject, contradicts + "7"},
		{"over everything", g.at(2, 10), same, Reject, contradicts + "2"},
		{"once more", g.frames[3], same, Duplicate, ""},
		{"the first once more", g.frames[0], same, Duplicate, ""},
		{"once more, and other leaves", g.at(6, 2), same, Reject, contradicts + "6"},
		{"once more, and longer", g.at(6, 3), same, Reject, contradicts + "6"},
		{"once more, and shorter", g.at(6, 1), same, Reject, contradicts + "6"},
		{"once more, the second half", g.at(7, 1), same, Reject, contradicts + "7"},
	} {
		t.Run(x.name, func(t *testing.T) {
			g := &gapped{writer: g.writer, table: newTable(nil), frames: g.frames}
			g.take(t, g.signed(t, g.frames[0]), Accept)
			g.take(t, g.signed(t, g.frames[3]), Accept)
			before := g.tip(t)
			x.change(&x.frame)
			raw := g.signed(t, x.frame)
			v, err := take(t, g.table, raw)
			if v != x.want || (err == nil) != (x.says == "") || err != nil && !strings.Contains(err.Error(), x.says) {
				t.Errorf("verdict %d, want %d: %v", v, x.want, err)
			}
			if strings.HasPrefix(x.says, equivocation) != errors.Is(err, ErrEquivocation) {
				t.Errorf("an equivocation: %v", err)
			}
			if changed := !reflect.DeepEqual(before, g.tip(t)); changed != (v == Accept || v == Late) {
				t.Errorf("verdict %d, and the tip changed: %v", v, changed)
			}
			if v == Accept || v == Late {
				g.take(t, raw, Duplicate) // it is remembered, late or not
			}
		})
	}
}

// TestWhoSigned: a frame is of its stream by the signature, and its rows are the ones that were signed.
func TestWhoSigned(t *testing.T) {
	g := newGapped(t)
	_, stranger, _ := ed25519.GenerateKey(nil)
	for _, at := range []frame.Draft{g.at(8, 2), g.at(2, 2), g.frames[3]} {
		raw, _, err := at.Encode(nil, stranger)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := take(t, g.table, raw); v != Reject || !strings.Contains(err.Error(), "signature is not by the key of the stream") {
			t.Errorf("at %d by somebody else: %d %v", at.First, v, err)
		}
	}
	for _, at := range []frame.Draft{g.at(8, 2), g.at(2, 2)} {
		raw := g.signed(t, at)
		raw[len(raw)-1]++ // of the last detail
		if v, err := take(t, g.table, raw); v != Reject || !strings.Contains(err.Error(), "the rows do not have the signed root") {
			t.Errorf("at %d with other rows: %d %v", at.First, v, err)
		}
		raw[len(raw)-1]--
		var f frame.Frame
		if err := f.Decode(raw); err != nil {
			t.Fatal(err)
		}
		if _, leaves, err := g.table.Take(&f, "lane"); err != nil || merkle.Root(leaves) != f.Leaves {
			t.Errorf("at %d: the leaf hashes are not those of the frame: %v", at.First, err)
		}
	}
}

// TestOpening: a stream is opened by its first frame, whose certificate must be for it and by a writer who may.
func TestOpening(t *testing.T) {
	_, service, _ := ed25519.GenerateKey(nil)
	_, key, _ := ed25519.GenerateKey(nil)
	public := key.Public().(ed25519.PublicKey)
	refused := errors.New("it is retired")
	for _, x := range []struct {
		name string
		cert func(*keyscope.Cert)
		then func(*frame.Draft)
		says string
	}{
		{"as it is", nil, nil, ""},
		{"a successor", func(c *keyscope.Cert) { c.Prev = keyscope.Link{Stream: [16]byte{9}, Seq: 4, Head: [32]byte{5}} }, nil, ""},
		{"not the first frame", nil, func(d *frame.Draft) { d.First, d.Rows = 1, d.Rows[1:] }, "stream is unknown: its first frame did not come"},
		{"no certificate", nil, func(d *frame.Draft) { d.Rows[0].Detail = []byte("none") }, "certificate"},
		{"it was changed", nil, func(d *frame.Draft) { d.Rows[0].Detail[30]++ }, "signature"},
		{"for another archive", func(c *keyscope.Cert) { c.Archive[0]++ }, nil, "another archive, partition or stream"},
		{"for another partition", func(c *keyscope.Cert) { c.Partition++ }, nil, "another archive, partition or stream"},
		{"for another stream", func(c *keyscope.Cert) { c.Stream[0]++ }, nil, "another archive, partition or stream"},
		{"for another key", func(c *keyscope.Cert) { c.StreamKey[0]++ }, nil, "signature is not by the key of the stream"},
		{"by another service", func(c *keyscope.Cert) { c.Service = "other" }, nil, ErrService.Error() + ": " + refused.Error()},
		{"behind a head", nil, func(d *frame.Draft) { d.Prev[0]++ }, "previous head differs at 0"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := keyscope.Cert{Archive: [16]byte{1}, Partition: 3, Stream: [16]byte{4}, StreamKey: [32]byte(public), BeatEvery: 700, Durability: keyscope.Spooled, Service: "s"}
			if x.cert != nil {
				x.cert(&c)
			}
			cert, err := keyscope.SignCert(c, service)
			if err != nil {
				t.Fatal(err)
			}
			d := frame.Draft{Archive: [16]byte{1}, Partition: 3, Stream: [16]byte{4}, Rows: []frame.Row{own(record.Open, string(cert.Bytes())), sampled(1)}}
			if x.then != nil {
				x.then(&d)
			}
			raw, head, err := d.Encode(nil, key)
			if err != nil {
				t.Fatal(err)
			}
			table := New([16]byte{1}, 3, nil, func(by ed25519.PublicKey) (string, error) {
				if !by.Equal(service.Public()) {
					t.Errorf("asked about %x", by)
				}
				if c.Service == "other" {
					return "", refused
				}
				return "acme", nil
			})
			v, err := take(t, table, raw)
			if x.says != "" {
				if v != Reject || !strings.Contains(err.Error(), x.says) || len(table.All()) > 0 {
					t.Errorf("verdict %d, %d streams: %v", v, len(table.All()), err)
				}
				if errors.Is(err, refused) != errors.Is(err, ErrService) {
					t.Error(err)
				}
				return
			}
			want := commit.Tip{ID: [16]byte{4}, Service: "acme", Key: public, Next: 2, Head: commit.Hex32(head), Every: 700, Durability: 2, Lane: "lane"}
			if c.Prev.Seq > 0 {
				want.Prev = &commit.Prev{Stream: [16]byte{9}, Seq: 4, Head: [32]byte{5}}
			}
			if tips := table.All(); v != Accept || len(tips) != 1 || !reflect.DeepEqual(tips[0], want) {
				t.Errorf("verdict %d, %v\n%+v, want\n%+v", v, err, tips, want)
			}
		})
	}
}

// TestBeatRules: what is refused of a beat, and for what.
func TestBeatRules(t *testing.T) {
	g := newGapped(t)
	now := time.Unix(1000, 0)
	_, stranger, _ := ed25519.GenerateKey(nil)
	for _, x := range []struct {
		name   string
		change func(b *frame.Beat, key *ed25519.PrivateKey)
		says   string
	}{
		{"as it is", func(*frame.Beat, *ed25519.PrivateKey) {}, ""},
		{"of another archive", func(b *frame.Beat, _ *ed25519.PrivateKey) { b.Archive[0]++ }, "beat of an unknown stream"},
		{"of another partition", func(b *frame.Beat, _ *ed25519.PrivateKey) { b.Partition++ }, "beat of an unknown stream"},
		{"of another stream", func(b *frame.Beat, _ *ed25519.PrivateKey) { b.Stream[0]++ }, "beat of an unknown stream"},
		{"by somebody else", func(_ *frame.Beat, key *ed25519.PrivateKey) { *key = stranger }, "beat is not signed by the key of its stream"},
		{"of another history", func(b *frame.Beat, _ *ed25519.PrivateKey) { b.Head[0]++ }, ErrEquivocation.Error() + ": the beat at 7"},
		{"of what was before", func(b *frame.Beat, _ *ed25519.PrivateKey) { b.Seq, b.Head[0] = 6, b.Head[0]+1 }, ""},
		{"of what is to come", func(b *frame.Beat, _ *ed25519.PrivateKey) { b.Seq, b.Head[0] = 8, b.Head[0]+1 }, ""},
	} {
		g.table = newTable(g.table.All())
		g.table.streams[[16]byte{1}].Tip.Beat = nil
		b, key := frame.Beat{Archive: [16]byte{1}, Stream: [16]byte{1}, Seq: 7, Head: g.head, Time: 5}, g.key
		x.change(&b, &key)
		raw := b.Append(nil, key)
		err := g.table.Beat(raw, now)
		if (err == nil) != (x.says == "") || err != nil && !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v", x.name, err)
		}
		var want *commit.Beat
		if x.says == "" {
			want = &commit.Beat{Seq: b.Seq, Head: commit.Hex32(b.Head), Time: now.UTC(), Note: bytes.Clone(raw)}
		}
		clear(raw) // the table has a copy
		if have := g.tip(t).Beat; !reflect.DeepEqual(have, want) || (len(g.table.Changed()) == 1) != (want != nil) {
			t.Errorf("%s: the beat is %+v, changed: %v", x.name, have, g.table.Changed())
		}
	}
	if err := g.table.Beat([]byte("STLB"), now); err == nil || !strings.Contains(err.Error(), "this is no beat") {
		t.Errorf("no beat: %v", err)
	}
	// One that cannot be read any more does not stand in the way of the least.
	g.table.streams[[16]byte{1}].Tip.Beat = &commit.Beat{Seq: 9, Note: []byte("?")}
	none := frame.Beat{Archive: [16]byte{1}, Stream: [16]byte{1}, Seq: record.None, Time: -1}
	if err := g.table.Beat(none.Append(nil, g.key), now); err != nil || g.tip(t).Beat.Seq != record.None {
		t.Errorf("behind a note that is none: %v, %+v", err, g.tip(t).Beat)
	}
}
