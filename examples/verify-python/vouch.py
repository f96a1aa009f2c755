"""Who else has seen the head of the control log: cosignatures of witnesses, and anchors."""
from datetime import datetime, timezone

from basics import Cursor, Key, Proof, b64, leaf_hash, need, note_lines, root_of_consistency, sha, split_note, verify


class Witness(Key):
    """A witness of the trust file: its key signs with a time (c2sp.org/tlog-cosignature)."""

    kind = 4

    def cosigned(self, text, raw):
        """Checks a cosignature and returns its time, in seconds."""
        need(len(raw) == 76, "a cosignature of another length")
        at = int.from_bytes(raw[4:12], "big")
        need(verify(self.key, raw[12:], b"cosignature/v1\ntime %d\n%s" % (at, text.encode())), "the cosignature of %s does not hold" % self)
        need(at < 253402300800, "a cosignature after the year 9999")
        return at


class Policy:
    """The anchor, witness, group and quorum lines of a trust file."""

    def __init__(self):
        self.witnesses, self.groups, self.anchors, self.quorum = {}, {}, {}, "none"

    def line(self, word, rest):
        f = rest.split()
        if word == "anchor":
            key = Key(rest)
            self.anchors[key.name] = key
        elif word == "witness":
            self.witnesses[f[0]] = Witness(f[1])
        elif word == "group":
            self.groups[f[0]] = ({"any": 1, "all": len(f) - 2}.get(f[1]) or int(f[1]), f[2:])
        elif word == "quorum":
            self.quorum = f[0]

    def met(self, signed, name):
        if name in self.groups:
            wanted, members = self.groups[name]
            return sum(self.met(signed, m) for m in members) >= wanted
        return name in signed


class Vouch:
    """A part of kind 16 or 17."""

    def __init__(self, kind, data):
        c = Cursor(data)
        self.kind, self.way = kind, c.path()
        self.head = c.rest() if kind == 16 else c.take(c.uv())
        self.proof = Proof(c.rest()) if kind == 17 else None

    def order(self):
        return (self.kind, self.proof.origin.encode() if self.proof else b"")


def vouched(c, parts):
    """Checks the parts against the head of the control log and the policy of the checker c."""
    need(c.head or not parts, "who else has seen a head, without one")
    signed, anchored, last = set(), set(), 0
    for v in parts:
        if v.kind == 16:
            last = cosigned(c, v, signed, last)
        else:
            anchor(c, v, anchored)
    if not c.head:
        return
    if c.policy.quorum != "none":
        if c.policy.met(signed, c.policy.quorum):
            c.say("archive", "quorum", "trust file", "quorum " + c.policy.quorum)
        else:
            c.missing.append(["archive", "quorum"])
    c.missing += [["archive", "anchor"] for name in c.policy.anchors if name not in anchored]
    if not signed and not anchored:
        c.missing.append(["archive", "witness"])


def leads(c, way, text):
    """Checks that a head of the control log is that of the file, or continues it. Returns its size."""
    p = Proof.body(text)
    need(p.origin == c.name + "/control", "a head of another log")
    root_of_consistency(way, c.head.size, c.head.root, p.size, p.root)
    return p.size


def cosigned(c, v, signed, last):
    text, lines = note_lines(v.head)
    need(lines[0][0] == c.log.name and lines[0][1][:4] == c.log.id, "the first signature is not that of the control log")
    need(len(lines[0][1]) == 68 and verify(c.log.key, lines[0][1][4:], text.encode()), "the signature of the control log does not hold")
    need(len({(name, raw[:4]) for name, raw in lines}) == len(lines), "two signatures of one key")
    size = leads(c, v.way, text)
    need(size > last, "cosigned heads that do not ascend")
    for name, raw in lines[1:]:
        for own, w in c.policy.witnesses.items():
            if (w.name, w.id) == (name, raw[:4]):
                at = w.cosigned(text, raw)
                need(own not in signed, "two cosignatures of one witness")
                signed.add(own)
                c.say("archive", "cosigned", str(w), "size %d, %s" % (size, datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")))
                break
        else:
            c.missing.append(["archive", "unknown"])
    return size


def anchor(c, v, anchored):
    need(v.head != c.head.checkpoint, "a head that should be left out")
    head = v.head or c.head.checkpoint
    size = leads(c, v.way, c.log.open(head))
    key = c.policy.anchors.get(v.proof.origin)
    if not key:
        c.missing.append(["archive", "unknown"])
        return
    v.proof.check(leaf_hash(split_note(head)[0].encode()), key.name, key)
    anchored.add(key.name)
    p = v.proof
    c.say("archive", "anchored", str(key), "head of size %d, %s leaf %d of %d, root %s" % (size, p.origin, p.index, p.size, b64(p.root, True)))
