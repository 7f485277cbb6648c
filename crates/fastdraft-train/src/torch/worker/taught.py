"""The target's most probable tokens of every masked token, kept sparse."""

import zlib

from safetensors import safe_open

from shards import ShardError

PIECE = 1 << 20


class Taught:
    """`ids` and `probabilities` `[positions, k]`, and the first position of each row, `first` `[rows]`."""

    def __init__(self, path, crc, rows):
        found = 0
        with open(path, "rb") as file:
            while piece := file.read(PIECE):
                found = zlib.crc32(piece, found)
        if f"{found:08x}" != crc:
            raise ShardError(f"{path}: damaged: checksum {found:08x}, not {crc}")
        self.file = safe_open(path, framework="np")
        self.ids, self.probabilities = self.file.get_slice("ids"), self.file.get_slice("probabilities")
        self.first = self.file.get_tensor("first")
        if len(self.first) != rows:
            raise ShardError(f"{path}: {len(self.first)} rows, not {rows}")

    def row(self, index, masked):
        """Ids and probabilities of a row's masked tokens, `[masked, k]` each."""
        first = int(self.first[index])
        return self.ids[first:first + masked], self.probabilities[first:first + masked]
