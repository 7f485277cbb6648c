"""Rows from shards, the format of docs/src/shards.md; nothing in a file is believed unchecked."""

import json
import os
import struct
import zlib

import numpy as np

HEADER = 128
FIELDS = struct.Struct("<8s4IQ2I5QI")


class ShardError(ValueError):
    """A file that is no shard, or not the expected one."""


def padded(size):
    return -(-size // 8) * 8


class Shard:
    """One mapped file. Blocks are checked when they are first read."""

    def __init__(self, path, fingerprint, vocabulary):
        self.path = path
        if os.path.getsize(path) < HEADER:
            self.refuse("it is shorter than a header")
        self.data = np.memmap(path, dtype=np.uint8, mode="r")
        head = bytes(self.data[:HEADER])
        (magic, version, size, self.item, self.width, found, self.vocabulary, self.per_block, self.rows,
         *_, length, self.blocks_crc) = FIELDS.unpack_from(head)
        (self.crc,) = struct.unpack_from("<I", head, HEADER - 4)
        if magic != b"FDSHARD\n":
            self.refuse("it does not begin with FDSHARD")
        if version != 1:
            self.refuse(f"version {version}, this program reads 1")
        if zlib.crc32(head[:HEADER - 4]) != self.crc:
            self.refuse("the header is damaged")
        if size != HEADER or any(head[84:HEADER - 4]):
            self.refuse("unknown fields in the header")
        if self.item not in (2, 4) or self.width < 2 or not self.per_block or not self.rows:
            self.refuse("impossible sizes")
        if found != fingerprint or self.vocabulary != vocabulary:
            self.refuse(
                f"made with vocabulary {found:016x} of {self.vocabulary} tokens, not {fingerprint:016x} of {vocabulary}"
            )
        blocks, last = divmod(self.rows, self.per_block)
        self.block_bytes = self.bytes_of(self.per_block)
        whole = HEADER + blocks * self.block_bytes + (self.bytes_of(last) if last else 0)
        if not length == whole == len(self.data):
            self.refuse(f"{len(self.data)} bytes, the header says {length} and its sizes {whole}")
        self.blocks = {}

    def refuse(self, reason):
        raise ShardError(f"{self.path}: {reason}")

    def bytes_of(self, rows):
        n = rows * self.width
        bits = padded(-(-n // 8))
        return padded(n * self.item) + 2 * bits + padded(rows * 4) + 8

    def block(self, number):
        """Ids and mask of a block, `[rows, width]` each."""
        if number not in self.blocks:
            self.blocks[number] = self.read_block(number)
        return self.blocks[number]

    def read_block(self, number):
        rows = min(self.per_block, self.rows - number * self.per_block)
        start = HEADER + number * self.block_bytes
        data = self.data[start:start + self.bytes_of(rows)]
        (crc,) = struct.unpack("<Q", data[-8:].tobytes())
        if zlib.crc32(data[:-8]) != crc:
            self.refuse(f"the block at {start} is damaged")
        n = rows * self.width
        ids = data[:n * self.item].view({2: "<u2", 4: "<u4"}[self.item]).reshape(rows, self.width)
        if ids.max() >= self.vocabulary:
            self.refuse(f"the block at {start} has id {ids.max()} in a vocabulary of {self.vocabulary}")
        at = padded(n * self.item)
        # As bits, so that a large corpus stays in its file.
        return ids, data[at:at + -(-n // 8)]

    def row(self, index):
        """Ids and mask of a row, `[width]` each."""
        number, row = divmod(index, self.per_block)
        ids, bits = self.block(number)
        first, end = row * self.width, (row + 1) * self.width
        piece = np.unpackbits(bits[first // 8:-(-end // 8)], bitorder="little")
        skip = first % 8
        return ids[row].astype(np.int64), piece[skip:skip + self.width].astype(bool)

    def verify(self):
        """Checks all blocks, and that they are those of the header."""
        crcs = b""
        for number in range(-(-self.rows // self.per_block)):
            self.read_block(number)
            end = HEADER + number * self.block_bytes
            end += self.bytes_of(min(self.per_block, self.rows - number * self.per_block))
            crcs += self.data[end - 8:end - 4].tobytes()
        if zlib.crc32(crcs) != self.blocks_crc:
            self.refuse("its blocks are not those of its header")


class ShardFolder:
    """The shards of a folder as one sequence of rows."""

    def __init__(self, folder, fingerprint, vocabulary):
        self.path = os.path.join(folder, "index.json")
        try:
            with open(self.path, encoding="utf-8") as file:
                index = json.load(file)
            if (index["format"], index["version"]) != ("fastdraft-shards", 1):
                self.refuse(f"{index['format']} version {index['version']}")
            if index["fingerprint"] != f"{fingerprint:016x}":
                self.refuse(f"made with vocabulary {index['fingerprint']}, not {fingerprint:016x}")
            entries = [(entry["file"], entry["rows"], entry["crc32"]) for entry in index["shards"]]
            self.rows, self.width = index["rows"], index["row_width"]
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ShardError(f"{self.path}: {error!r}") from error
        self.shards, self.starts, total = [], [], 0
        for name, rows, crc in entries:
            if not isinstance(name, str) or name in ("", ".", "..") or os.path.basename(name) != name:
                self.refuse(f"`{name}` is not a file name")
            shard = Shard(os.path.join(folder, name), fingerprint, vocabulary)
            if (shard.rows, shard.width, f"{shard.crc:08x}") != (rows, self.width, crc):
                shard.refuse("it is not the shard of the index")
            self.shards.append(shard)
            self.starts.append(total)
            total += rows
        if total != self.rows:
            self.refuse(f"{self.rows} rows, but {total} in shards")

    def refuse(self, reason):
        raise ShardError(f"{self.path}: {reason}")

    def row(self, index):
        number = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.shards[number].row(index - self.starts[number])

    def verify(self):
        for shard in self.shards:
            shard.verify()
