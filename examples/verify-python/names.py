"""Lines of a roster: part 8."""
from basics import Cursor, Failed, leaf_hash, need, sha


class Names:
    """A part of kind 8: lines of a roster, and the hashes beside them."""

    def __init__(self, data):
        c = Cursor(data)
        self.hashes = [c.take(32) for _ in range(c.uv())]
        self.indexes = [c.uv() for _ in range(c.uv())]
        text = c.rest()
        self.lines = text[:-1].split(b"\n")
        need(text.endswith(b"\n") and len(self.lines) == len(self.indexes), "another number of lines than of indexes")
        try:
            self.text = text[:-1].decode()
        except UnicodeDecodeError:
            raise Failed("lines that are no text")
        need(not any(c < " " and c != "\n" for c in self.text), "lines with control characters")
        need(all(a < b for a, b in zip(self.indexes, self.indexes[1:])), "names that do not ascend")

    def root(self, size):
        shown, beside = dict(zip(self.indexes, self.lines)), iter(self.hashes)

        def root(first, end, inside):
            if not inside:
                h = next(beside, None)
                need(h, "a name without all hashes beside it")
                return h
            if end - first == 1:
                return leaf_hash(shown[first])
            middle = first + (1 << (end - first - 1).bit_length() - 1)
            left = root(first, middle, [i for i in inside if i < middle])
            return sha(b"\1", left, root(middle, end, [i for i in inside if i >= middle]))

        need(self.indexes[-1] < size, "a name behind the roster")
        h = root(0, size, self.indexes)
        need(next(beside, None) is None, "a hash that no name needs")
        return h
