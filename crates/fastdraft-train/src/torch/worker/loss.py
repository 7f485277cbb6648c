"""Losses on sparse and on whole teachers, head included, a piece of the positions at a time.

Weights of the terms are those of fastdraft-train's `loss` module: cross-entropy is a mean over labels,
KL and TVD are means over positions, each weighing what the target gave to tokens of the head.
"""

import torch
import torch.nn.functional as F

# Logits that are in memory at a time.
LOGITS = 1 << 26


class Targets:
    """Goals with the final weights of their terms, on the device.

    With `thoughts`, a target's over all tokens of the head, the recorded ones do not count.
    """

    def __init__(self, goals, totals, loss, device, thoughts=None):
        labels, masses = max(float(totals[0]), 1.0), max(float(totals[1]), 1e-38)

        def put(array, dtype):
            return torch.from_numpy(array).to(dtype).to(device)

        mass = put(goals.mass, torch.float32) if thoughts is None else thoughts.mass

        self.positions = put(goals.positions, torch.int64)
        self.labels = put(goals.labels, torch.int64)
        self.label_weights = put(goals.has_label * loss["cross_entropy"] / labels, torch.float32)
        self.ids = put(goals.ids, torch.int64) if thoughts is None else None
        self.shares = put(goals.shares, torch.float32) if thoughts is None else thoughts.shares
        self.kl, self.tvd = (mass * (loss[term] / masses) if loss[term] > 0 else None for term in ("kl", "tvd"))

    def value(self, logits, part):
        """The weighted loss of the positions of `part`. `logits`: `[positions, head]`"""
        log_q = F.log_softmax(logits.float(), dim=-1)
        total = -(self.label_weights[part] * log_q.gather(1, self.labels[part][:, None])[:, 0]).sum()
        p = self.shares[part]
        if self.ids is not None:
            log_q = log_q.gather(1, self.ids[part])
        if self.kl is not None:
            divergence = torch.xlogy(p, p).sum(1) - (p * log_q).sum(1)
            total = total + (self.kl[part] * divergence).sum()
        if self.tvd is not None:
            overlap = torch.minimum(log_q.exp(), p).sum(1)
            total = total + (self.tvd[part] * (1 - overlap)).sum()
        return total


class HeadLoss(torch.autograd.Function):
    """Head and loss; gradients are taken in the forward pass, so that no piece's logits are kept."""

    @staticmethod
    def forward(ctx, hidden, weight, targets, logits):
        needs_weight = ctx.needs_input_grad[1]
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        below = torch.zeros_like(hidden)
        head = torch.zeros_like(weight) if needs_weight else None
        piece = max(1, logits // weight.shape[0])
        for start in range(0, len(hidden), piece):
            part = slice(start, start + piece)
            with torch.enable_grad():
                x = hidden[part].detach().requires_grad_()
                w = weight.detach().requires_grad_(needs_weight)
                value = targets.value(F.linear(x, w), part)
                gradients = torch.autograd.grad(value, [x, w] if needs_weight else [x])
            total += value.detach()
            below[part] = gradients[0]
            if needs_weight:
                head += gradients[1]
        ctx.save_for_backward(below, head)
        return total

    @staticmethod
    def backward(ctx, up):
        below, head = ctx.saved_tensors
        return up * below, None if head is None else up * head, None, None


def head_loss(hidden, weight, targets, logits=LOGITS):
    """The loss of `[trained, hidden]` residual streams under a head `[head, hidden]`."""
    return HeadLoss.apply(hidden, weight, targets, logits)
