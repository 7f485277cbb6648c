"""The rows of a rank, read one step ahead."""

import os
from concurrent.futures import ThreadPoolExecutor

from batch import inputs, totals
from order import Order
from shards import ShardError, ShardFolder
from taught import Taught


class Sources:
    def __init__(self, folder, stage):
        fingerprint = int(stage["fingerprint"], 16)
        vocabulary = stage["model"]["vocabulary_size"]
        self.folders, self.taught = [], []
        for source in stage["sources"]:
            path = os.path.join(folder, source["folder"])
            rows = ShardFolder(path, fingerprint, vocabulary)
            if (rows.rows, rows.width) != (source["rows"], stage["sequence_length"] + 1):
                raise ShardError(f"{path}: {rows.rows} rows of {rows.width}, not those of the stage")
            self.folders.append(rows)
            taught = source["taught"]
            self.taught.append(taught and Taught(os.path.join(path, taught["file"]), taught["crc32"], rows.rows))

    def row(self, source, index):
        """Ids and mask of a row, and its teacher's ids and probabilities or None."""
        ids, mask = self.folders[source].row(index)
        taught = self.taught[source]
        return ids, mask, taught and taught.row(index, int(mask.sum()))


class Loader:
    """Steps of one rank: inputs and goals of its micro-batches, and totals of all goals."""

    def __init__(self, sources, stage, batcher, rank, world):
        rows = [source["rows"] for source in stage["sources"]]
        weights = [source["weight"] for source in stage["sources"]]
        self.accumulation = stage["accumulation"]
        self.order = Order(rows, weights, stage["batch"] * self.accumulation, stage["seed"])
        self.sources, self.batcher, self.rank, self.world = sources, batcher, rank, world
        self.thread = ThreadPoolExecutor(1)
        self.ahead = None

    def make(self, step):
        rows = [self.sources.row(*sample) for sample in self.order.share(step, self.rank, self.world)]
        cuts = [part * len(rows) // self.accumulation for part in range(self.accumulation + 1)]
        parts = [rows[first:end] for first, end in zip(cuts, cuts[1:]) if first < end]
        parts = [(inputs(part), self.batcher.goals(part)) for part in parts]
        return parts, sum(totals(goals) for _, goals in parts)

    def step(self, step):
        """The batch of a step; the next one is begun. Steps come in order."""
        found = self.ahead.result() if self.ahead else self.make(step)
        self.ahead = self.thread.submit(self.make, step + 1)
        return found
