"""Passes of llama.cpp and of the CPU engine on the same GGUF file, in turns.

    pip install llama-cpp-python
    cargo build --release --example pass_cost
    python benches/peers/passes.py MODEL.gguf [--dtype int8] [--rounds 9] [--threads 2]

Every round starts one process of ours and one of llama.cpp's. Printed are the medians over the rounds of
each round's median, and the ratio of the rounds, ours over theirs.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import time

TOKENS = [1, 2, 4, 8, 512]
CONTEXT = 64
PASSES = 5


def theirs(path, threads):
    from llama_cpp import Llama

    model = Llama(path, n_ctx=1024, n_threads=threads, n_threads_batch=threads, n_batch=512, verbose=False)
    ids = [100 + i % 50 for i in range(max(TOKENS))]
    model.eval(ids[:CONTEXT])
    times = {count: [] for count in TOKENS}
    for turn in range(PASSES + 1):
        for count in TOKENS:
            # `eval` drops what the cache holds beyond `n_tokens`.
            model.n_tokens = CONTEXT
            start = time.perf_counter()
            model.eval(ids[:count])
            if turn:
                times[count].append((time.perf_counter() - start) * 1e3)
    return {count: statistics.median(values) for count, values in times.items()}


def ours(program, path, dtype, threads):
    command = [program, "--target", path, "--dtype", dtype, "--json", "--repeats", str(PASSES)]
    command += ["--context", str(CONTEXT), "--tokens", ",".join(map(str, TOKENS))]
    environment = dict(os.environ, RAYON_NUM_THREADS=str(threads))
    report = json.loads(subprocess.check_output(command, env=environment))
    return {one["tokens"]: one["ms"] for one in report["passes"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--dtype", default="int8", choices=["f32", "bf16", "int8", "gguf"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--program", default="target/release/examples/pass_cost")
    args = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    rounds = []
    for _ in range(args.rounds):
        mine = ours(args.program, args.model, args.dtype, args.threads)
        with spawn.Pool(1) as pool:
            rounds.append((mine, pool.apply(theirs, (args.model, args.threads))))
    print(f"{args.rounds} rounds, {args.threads} threads, {os.path.basename(args.model)}; {args.dtype} against llama.cpp")
    print("tokens  ours ms  llama.cpp ms  ratio (least to most)")
    for count in TOKENS:
        mine = [one[count] for one, _ in rounds]
        other = [one[count] for _, one in rounds]
        ratios = [a / b for a, b in zip(mine, other)]
        print(
            f"{count:>6}  {statistics.median(mine):>7.2f}  {statistics.median(other):>12.2f}"
            f"  {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
