"""Tokens drawn from logits by inversion, with numbers of seed and position alone."""

import torch
from order import WORD


def signed(word):
    """The 64-bit integer of torch that has the bits of `word`."""
    word &= WORD
    return word - (1 << 64) if word >> 63 else word


GOLDEN, FIRST, SECOND = (signed(word) for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def shifted(z, bits):
    """To the right, zeros coming in."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def uniform(seeds, positions):
    """A number from [0, 1) for each row: SplitMix64. seeds, positions: `[rows]`, int64"""
    z = seeds + (positions + 1) * GOLDEN
    z = (z ^ shifted(z, 30)) * FIRST
    z = (z ^ shifted(z, 27)) * SECOND
    z = z ^ shifted(z, 31)
    # 24 bits are a float32 exactly.
    return shifted(z, 40).to(torch.float32) / (1 << 24)


def draw(logits, temperatures, numbers):
    """A token of each row: the most probable one at temperature 0, else by inversion. `[rows]`"""
    scaled = logits / torch.where(temperatures > 0, temperatures, 1.0)[:, None]
    mass = torch.softmax(scaled, -1).cumsum(-1)
    # Rounding may leave the sum below the number.
    found = torch.searchsorted(mass, numbers[:, None] * mass[:, -1:], right=True)[:, 0]
    return torch.where(temperatures > 0, found.clamp_max(logits.shape[1] - 1), logits.argmax(-1))
