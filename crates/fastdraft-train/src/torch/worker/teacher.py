"""The target beside the draft: what it thinks of the rows of a step."""

import os
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from checkpoint import Store
from loss import LOGITS
from model import Draft, to_precision


@dataclass
class Thoughts:
    """The target's probabilities over the head's tokens, on the device.

    shares: `[trained, head]`, those of a position sum to 1; mass: `[trained]`, what they were of the whole.
    """

    shares: torch.Tensor
    mass: torch.Tensor


class Teacher:
    """The target, as it is. `head_rows` are those of the draft, `[vocabulary]`."""

    def __init__(self, folder, entry, seq, device, head_rows, precision):
        store = Store(os.path.join(folder, entry["folder"]), entry["model"])
        self.target = Draft(entry["model"], entry["rotary"], seq)
        store.load(self.target)
        to_precision(self.target.requires_grad_(False), precision)
        self.target.to(device)
        if (store.head_rows < 0).any():
            raise ValueError("the target's head lacks tokens")
        tokens = np.flatnonzero(head_rows >= 0)
        tokens = tokens[np.argsort(head_rows[tokens])]
        self.tokens = torch.from_numpy(tokens).to(device)

    @torch.no_grad()
    def think(self, inputs, goals):
        """inputs: `[rows, seq]`"""
        device = self.tokens.device
        hidden = self.target.hidden(inputs.to(device)).flatten(0, 1)
        hidden = hidden[torch.from_numpy(goals.positions).to(device)]
        head = self.target.head()
        shares, mass = [], []
        for part in hidden.split(max(1, LOGITS // len(head))):
            logits = F.linear(part, head).float()
            kept = logits[:, self.tokens]
            mass.append((kept.logsumexp(-1) - logits.logsumexp(-1)).exp())
            shares.append(kept.softmax(-1))
        if not shares:
            return Thoughts(hidden.new_zeros(0, len(self.tokens)), hidden.new_zeros(0))
        return Thoughts(torch.cat(shares), torch.cat(mass))
