"""Which rows make up a step: the same pure function of seed and step as fastdraft-data's loader."""

WORD = (1 << 64) - 1


def mix(value):
    """The SplitMix64 finalizer."""
    z = (value + 0x9E3779B97F4A7C15) & WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return z ^ (z >> 31)


def permute(index, size, key):
    """A Feistel permutation of `range(size)`, walked until it lands inside."""
    if size < 2:
        return 0
    half = ((size - 1).bit_length() + 1) // 2
    low = (1 << half) - 1
    value = index
    while True:
        left, right = value >> half, value & low
        for turn in range(4):
            left, right = right, left ^ (mix(right ^ mix((key + turn) & WORD)) & low)
        value = (left << half) | right
        if value < size:
            return value


class Order:
    """Samples of several sources in proportion to their weights, `batch` a step for all ranks."""

    def __init__(self, rows, weights, batch, seed):
        self.rows, self.weights, self.batch, self.seed = rows, weights, batch, seed
        self.total = sum(weights)
        self.seeds = [mix((seed + source) & WORD) for source in range(len(rows))]

    def share(self, step, rank, world):
        """The part of a step's batch that a rank takes, as source and row."""
        first = step * self.batch
        cut = [first + part * self.batch // world for part in (rank, rank + 1)]
        return [self.sample(sample) for sample in range(*cut)]

    def sample(self, sample):
        cycle, place = divmod(sample, self.total)
        slot = permute(place, self.total, mix(self.seed ^ mix(cycle)))
        source = 0
        while slot >= self.weights[source]:
            slot -= self.weights[source]
            source += 1
        ordinal = cycle * self.weights[source] + slot
        epoch, index = divmod(ordinal, self.rows[source])
        return source, permute(index, self.rows[source], mix(self.seeds[source] ^ mix(epoch)))
