"""Leafdata: docs/formats/record.md."""
import re

from basics import Cursor, need


class Leaf:
    def __init__(self, data):
        need(len(data) <= 65535, "a leaf that is too long")
        c = Cursor(data)
        version, self.type, self.kind, self.flags = c.take(4)
        need(version == 1 and 1 <= self.type <= 7 and self.flags < 64, "leafdata of an unknown version or type")
        self.stream, self.seq, self.id, self.time = c.take(16), c.u64(), c.take(16), c.u64()
        self.scope, self.digest, self.slot, self.commitment, _ = c.take(16), c.take(32), c.u16(), c.take(32), c.take(4)
        self.clear = [c.take(c.u8()) for _ in range(7)]
        self.detail = c.take(c.u16())
        c.end()
        need(re.fullmatch(rb"[a-z0-9-]{1,32}", self.clear[0]), "no name of a class")
        need(self.flags < 32 or self.type == 1 and self.clear[0] == b"default", "a flag that only records of the class default have")
        if self.type <= 2:
            need(1 <= self.kind <= 4 and not self.detail, "a record without kind, or with a detail")
        else:
            body = self.id + self.scope + self.digest + self.commitment
            need(self.kind == 0 and not any(body) and self.slot == 0, "a body where there is none")
            need(self.type != 3 or self.seq == 0, "a stream that opens behind its first leaf")
