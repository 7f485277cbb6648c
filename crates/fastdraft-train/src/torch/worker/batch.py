"""Rows of a step as what the loss needs; the same choices as fastdraft-train's `loss::Batch`."""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass
class Goals:
    """What trained positions are trained towards, in rows of the head.

    positions, labels and has_label: `[trained]`; ids and shares: `[trained, k]`, shares of a position
    sum to 1 or are all 0; mass: `[trained]`.
    """

    positions: np.ndarray
    labels: np.ndarray
    has_label: np.ndarray
    ids: np.ndarray
    shares: np.ndarray
    mass: np.ndarray


class Batcher:
    """Collects the trained positions of rows: with a `live` teacher all masked ones, else those with a goal."""

    def __init__(self, head_rows, loss, live=False):
        self.head_rows, self.live = head_rows, live
        self.wants_label = loss["cross_entropy"] > 0
        self.wants_teacher = loss["kl"] > 0 or loss["tvd"] > 0

    def goals(self, rows):
        """`rows` has ids, mask and the teacher's ids and probabilities (or None) of each row."""
        parts = [self.row_goals(number * (len(row[0]) - 1), *row) for number, row in enumerate(rows)]
        width = max(part[3].shape[1] for part in parts)
        parts = [(*part[:3], *(pad(matrix, width) for matrix in part[3:])) for part in parts]
        positions, labels, has_label, ids, shares = (np.concatenate(column) for column in zip(*parts))
        mass = shares.sum(1)
        kept = has_label + mass > 0 if not self.live else slice(None)
        shares = shares / np.where(mass > 0, mass, 1)[:, None]
        columns = (positions, labels, has_label, ids, shares, mass)
        return Goals(*(column[kept] for column in columns))

    def row_goals(self, offset, ids, mask, thoughts):
        masked = np.flatnonzero(mask)
        # The first token of a row has no input that predicts it.
        predicted = masked > 0
        places = masked[predicted]
        labels = self.head_rows[ids[places]]
        has_label = (labels >= 0).astype(np.float64) * self.wants_label
        labels = np.where(has_label > 0, labels, 0)
        if thoughts is None or self.live or not self.wants_teacher:
            shape = (len(places), 1)
            return offset + places - 1, labels, has_label, np.zeros(shape, np.int64), np.zeros(shape)
        found, shares = (part[predicted] for part in thoughts)
        rows = self.head_rows[found.astype(np.int64)]
        shares = np.where((rows >= 0) & (shares > 0), shares, 0).astype(np.float64)
        return offset + places - 1, labels, has_label, np.where(shares > 0, rows, 0), shares


def pad(matrix, width):
    return np.pad(matrix, ((0, 0), (0, width - matrix.shape[1])))


def totals(goals):
    """Labels, teacher's mass and positions, to be summed over ranks: `[3]`."""
    sums = [goals.has_label.sum(), goals.mass.sum(), len(goals.positions)]
    return torch.tensor([float(value) for value in sums], dtype=torch.float64)


def inputs(rows):
    """Inputs of the model: `[rows, seq]`."""
    return torch.from_numpy(np.stack([ids[:-1] for ids, _, _ in rows]))
