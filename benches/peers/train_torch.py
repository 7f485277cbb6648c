"""Pre-training steps of PyTorch and of the Burn trainer on the same shape, in turns.

    pip install torch transformers
    cargo build --release --workspace --examples
    python benches/peers/train_torch.py [--shape a] [--rounds 3] [--threads 2] [--steps 6] [--device cpu]

PyTorch runs transformers' LlamaForCausalLM in eager mode with torch.optim.AdamW and clipping by the joint
norm, in float32, on the same shape: 4 blocks x 256, 4 heads, MLP of 704, head and embedding one matrix, all
positions trained. In (b-trimmed) the Burn draft keeps the vocabulary of (b) and trains a head of its own of
8,192 tokens, as recipes with `vocabulary = 8192` do; PyTorch's side is that of (b). Every round starts one
process of each side. Tokens a second leave the first steps out; the peak is the largest resident size of the
process, with its libraries.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

# Vocabulary, batch, sequence length, tokens of a trimmed head or 0.
SHAPES = {"a": (8192, 8, 256, 0), "b": (49152, 8, 256, 0), "b-trimmed": (49152, 8, 256, 8192)}
# Micro-batches, checkpointing and blocks of `pretrain_speed`.
PLAIN = ("1", "0", "4")


def theirs(vocabulary, batch, length, steps, warm):
    import torch
    import torch.nn.functional as F
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=256, intermediate_size=704, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=2048, rms_norm_eps=1e-5, tie_word_embeddings=True, use_cache=False,
    )
    model = LlamaForCausalLM(config).float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.0)
    model.train()
    for step in range(warm + steps):
        if step == warm:
            start = time.perf_counter()
        ids = torch.randint(0, vocabulary, (batch, length + 1))
        logits = model(input_ids=ids[:, :-1]).logits
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        value = loss.item()
    seconds = time.perf_counter() - start
    parameters = sum(parameter.numel() for parameter in model.parameters())
    rate = steps * batch * length / seconds
    print(json.dumps({"parameters": parameters, "tokens_per_second": rate, "loss": value}))


def measured(command, threads):
    """What a process printed, and its peak resident size in MB."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), RAYON_NUM_THREADS=str(threads))
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    return {**json.loads(text), "peak": usage.ru_maxrss / 1e3}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=[*SHAPES, "all"], default="all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--warm", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="of Burn, as `train --device` takes it")
    parser.add_argument("--program", default="target/release/examples/pretrain_speed")
    parser.add_argument("--child", nargs=5, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return theirs(*args.child)
    for name in SHAPES if args.shape == "all" else [args.shape]:
        *shape, head = SHAPES[name]
        numbers = [str(number) for number in (*shape, args.steps, args.warm)]
        rounds = []
        for _ in range(args.rounds):
            mine = measured([args.program, *numbers, *PLAIN, str(head), args.device], args.threads)
            peer = measured([sys.executable, __file__, "--child", *numbers], args.threads)
            if not head and mine["parameters"] != peer["parameters"]:
                raise SystemExit(f"{mine['parameters']} and {peer['parameters']} parameters")
            rounds.append((mine, peer))
        vocabulary, batch, length = shape
        print(
            f"({name}) {mine['parameters'] / 1e6:.1f}M parameters, vocabulary {vocabulary},"
            f" head {head or vocabulary}, batch {batch} x {length},"
            f" {args.threads} threads, {args.rounds} rounds of {args.steps} steps"
        )
        for label, side in (("Burn", 0), ("PyTorch", 1)):
            rates = [one[side]["tokens_per_second"] for one in rounds]
            peak = max(one[side]["peak"] for one in rounds)
            print(
                f"  {label:<8} {statistics.median(rates):>6.0f} tok/s ({min(rates):.0f} to {max(rates):.0f}),"
                f" peak {peak:.0f} MB"
            )
        speed = [a["tokens_per_second"] / b["tokens_per_second"] for a, b in rounds]
        memory = [a["peak"] / b["peak"] for a, b in rounds]
        print(
            f"  ratio    {statistics.median(speed):.2f} of the speed ({min(speed):.2f} to {max(speed):.2f}),"
            f" {statistics.median(memory):.2f} of the peak"
        )


if __name__ == "__main__":
    main()
