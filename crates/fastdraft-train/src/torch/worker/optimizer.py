"""AdamW with the rules of fastdraft-train: matrices decay, norms, biases and embeddings do not."""

import math

import torch


def decays(name, parameter):
    return parameter.dim() >= 2 and "embed_tokens" not in name


class Optimizer:
    def __init__(self, named, constants, clip, fused):
        self.named = [(name, parameter) for name, parameter in named if parameter.requires_grad]
        self.clip = math.inf if clip is None else clip
        groups = [
            {"params": [p for name, p in self.named if decays(name, p) is on], "weight_decay": decay}
            for on, decay in ((True, constants["weight_decay"]), (False, 0.0))
        ]
        self.adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            betas=(constants["beta_1"], constants["beta_2"]),
            eps=constants["epsilon"],
            fused=fused or None,
        )
        self.updates = 0

    def restore(self, updates, moments):
        """Goes on after `updates` steps; `moments(name)` gives both means of a parameter, or None."""
        self.updates = updates
        for name, parameter in self.named:
            if (found := moments(name)) is None:
                continue
            first, second = (value.to(parameter.device) for value in found)
            step = torch.tensor(float(updates), dtype=torch.float32)
            # The fused step counts on the device, the others on the host.
            if self.adamw.defaults["fused"]:
                step = step.to(parameter.device)
            self.adamw.state[parameter] = {"step": step, "exp_avg": first, "exp_avg_sq": second}

    def moments(self):
        """Name and both means of every parameter that has moved."""
        for name, parameter in self.named:
            state = self.adamw.state.get(parameter)
            if state:
                yield name, state["exp_avg"], state["exp_avg_sq"]

    def gradient_norm(self):
        """The joint norm of all gradients."""
        norms = [torch.linalg.vector_norm(p.grad, dtype=torch.float32) for _, p in self.named if p.grad is not None]
        return float(torch.linalg.vector_norm(torch.stack(norms)))

    def not_finite(self):
        """Name of the first parameter whose gradient is not finite."""
        for name, parameter in self.named:
            if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
                return name
        return None

    def step(self, rate, norm):
        """Moves every parameter, with gradients scaled down to the clip when they are longer."""
        if norm > self.clip:
            for _, parameter in self.named:
                if parameter.grad is not None:
                    parameter.grad.mul_(self.clip / norm)
        for group in self.adamw.param_groups:
            group["lr"] = rate
        self.adamw.step()
        self.updates += 1
