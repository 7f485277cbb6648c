"""A rank of a stage: `main.py RUN_FOLDER`, started by torchrun.

Rank 0 takes commands, one JSON object a line: `step` with the learning rate, `save` with a folder,
`stop`. It answers each with an event. Other ranks follow it.
"""

import contextlib
import datetime
import math
import os
import sys
import time
import traceback

from channel import Channel, Gone, log

STOP, STEP, SAVE = 0, 1, 2


class Refused(Exception):
    """An error with a kind that the starting program knows."""

    def __init__(self, kind, **fields):
        super().__init__(f"{kind}: {fields}")
        self.kind, self.fields = kind, fields


class Rank:
    def __init__(self, folder, channel):
        import torch
        import torch.distributed as dist

        from batch import Batcher
        from checkpoint import Store
        from data import Loader, Sources
        from devices import open_device
        from model import Draft
        from optimizer import Optimizer
        from stage import read_stage

        self.channel, self.dist, self.torch = channel, dist, torch
        self.stage = stage = read_stage(folder)
        self.device = open_device(stage["device"])
        dist.init_process_group(self.device.backend, timeout=datetime.timedelta(minutes=10))
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        # Decisions and counts travel between hosts' memories, whatever the accelerator.
        self.control = dist.new_group(backend="gloo", timeout=datetime.timedelta(hours=24))
        log(f"rank {self.rank} of {self.world}: pid {os.getpid()}, {self.device.torch}, {self.device.backend}")
        store = Store(folder, stage["model"])
        checkpointing = stage["gradient_checkpointing"]
        draft = Draft(stage["model"], stage["rotary"], stage["sequence_length"], checkpointing)
        store.load(draft)
        if stage["freeze"]["embedding"]:
            draft.model.embed_tokens.weight.requires_grad_(False)
        if stage["freeze"]["head"]:
            draft.head().requires_grad_(False)
        self.draft, self.store = draft.to(self.device.torch), store
        self.optimizer = Optimizer(
            list(draft.named_parameters()), stage["optimizer"], stage["clip"], self.device.fused_optimizer
        )
        self.losses = store.load_moments(self.optimizer, stage["updates"])
        self.parallel = self.draft
        if self.world > 1:
            self.parallel = torch.nn.parallel.DistributedDataParallel(self.draft, gradient_as_bucket_view=True)
        self.teacher = None
        if entry := stage["teacher"]:
            from teacher import Teacher

            sequence = stage["sequence_length"]
            self.teacher = Teacher(folder, entry, sequence, self.device.torch, store.head_rows, stage["autocast"])
        batcher = Batcher(store.head_rows, stage["loss"], live=self.teacher is not None)
        self.loader = Loader(Sources(folder, stage), stage, batcher, self.rank, self.world)
        self.at = stage["step"]

    def decide(self):
        """The next command of rank 0, and its learning rate."""
        word, folder = [STOP, 0.0], None
        if self.rank == 0:
            try:
                command = self.channel.receive()
            except Gone:
                command = {"do": "stop"}
            word = [{"stop": STOP, "step": STEP, "save": SAVE}[command["do"]], command.get("rate", 0.0)]
            folder = command.get("folder")
        word = self.torch.tensor(word, dtype=self.torch.float64)
        self.dist.broadcast(word, 0, group=self.control)
        return int(word[0]), float(word[1]), folder

    def sum(self, values):
        self.dist.all_reduce(values, group=self.control)
        return values

    def think(self, parts, totals):
        """The live teacher's thoughts of every micro-batch; their mass is added to the totals."""
        if self.teacher is None:
            return [None] * len(parts)
        thoughts = [self.teacher.think(*part) for part in parts]
        totals[1] += sum(float(thought.mass.sum()) for thought in thoughts)
        return thoughts

    def backward(self, inputs, goals, thoughts, totals, last):
        """Adds the gradients of a micro-batch; ranks exchange the sums with the last one."""
        from loss import Targets

        targets = Targets(goals, totals, self.stage["loss"], self.device.torch, thoughts)
        alone = self.world > 1 and not last
        with self.parallel.no_sync() if alone else contextlib.nullcontext():
            with self.device.autocast(self.stage["autocast"]):
                loss = self.parallel(inputs.to(self.device.torch), targets)
            # Gradients are averaged over ranks, and each rank's loss is its part of the sum.
            (loss * self.world).backward()
        self.device.step_is_over()
        return loss.detach().to("cpu", self.torch.float64)

    def step(self, rate):
        start = time.monotonic()
        parts, totals = self.loader.step(self.at)
        thoughts = self.think(parts, totals)
        totals = self.sum(totals)
        trained = int(totals[2])
        event = {"step": self.at + 1, "loss": None, "norm": None, "rate": rate, "trained": trained}
        if trained:
            loss = self.torch.zeros((), dtype=self.torch.float64)
            parts = [(*part, thought) for part, thought in zip(parts, thoughts)]
            for part in parts[:-1]:
                if len(part[1].positions):
                    loss += self.backward(*part, totals, last=False)
            loss += self.backward(*parts[-1], totals, last=True)
            total = float(self.sum(loss))
            event["loss"], event["norm"] = total, self.update(total, rate)
            self.losses.append(total)
        self.at += 1
        event["tokens"] = self.loader.order.batch * self.stage["sequence_length"]
        event["seconds"] = time.monotonic() - start
        return event

    def update(self, loss, rate):
        if not math.isfinite(loss):
            raise Refused("diverged", loss=str(loss))
        norm = self.optimizer.gradient_norm()
        if not math.isfinite(norm):
            from checkpoint import path_of

            raise Refused("gradient", tensor=path_of(self.optimizer.not_finite() or "all gradients together"))
        self.optimizer.step(rate, norm)
        self.device.step_is_over()
        self.draft.zero_grad()
        return norm

    def run(self):
        versions = {"torch": self.torch.__version__, "world": self.world, "backend": self.device.backend}
        if self.rank == 0:
            self.channel.send("ready", **versions)
        while True:
            command, rate, folder = self.decide()
            if command == STEP:
                event = self.step(rate)
                if self.rank == 0:
                    self.channel.send("step", **event)
            elif command == SAVE:
                if self.rank == 0:
                    self.store.save(folder, self.draft, self.optimizer, self.losses)
                    self.channel.send("saved", updates=self.optimizer.updates)
            else:
                break
        self.dist.destroy_process_group()


def main():
    channel = Channel()
    rank = int(os.environ.get("RANK", "0"))
    try:
        Rank(sys.argv[1], channel).run()
    except Refused as refused:
        if rank == 0:
            channel.send("error", rank=rank, kind=refused.kind, **refused.fields)
        sys.exit(1)
    except Exception as error:
        # One event is one write, and short writes are not cut.
        channel.send("error", rank=rank, kind="exception", message=f"{type(error).__name__}: {error}"[:2000])
        traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    main()
