"""Passes of llama.cpp, of transformers and of the CPU engine on the same GGUF file, in turns.

    pip install llama-cpp-python torch transformers gguf
    cargo build --release --example pass_cost
    python benches/peers/passes.py MODEL.gguf [--dtype int8] [--peers llama.cpp,transformers] [--rounds 9] [--threads 2]

Every round starts one process of ours and one of each peer's. Printed are the medians over the rounds of
each round's median, and the ratio of the rounds, ours over theirs. transformers has the file's weights as
float32, in eager mode.
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


def median_passes(run):
    """Milliseconds of `run(count)` for each count, the counts in turns, the first turn left out."""
    times = {count: [] for count in TOKENS}
    for turn in range(PASSES + 1):
        for count in TOKENS:
            milliseconds = run(count)
            if turn:
                times[count].append(milliseconds)
    return {count: statistics.median(values) for count, values in times.items()}


def llama_cpp(path, threads):
    from llama_cpp import Llama

    model = Llama(path, n_ctx=1024, n_threads=threads, n_threads_batch=threads, n_batch=512, verbose=False)
    ids = [100 + i % 50 for i in range(max(TOKENS))]
    model.eval(ids[:CONTEXT])

    def run(count):
        # `eval` drops what the cache holds beyond `n_tokens`.
        model.n_tokens = CONTEXT
        start = time.perf_counter()
        model.eval(ids[:count])
        return (time.perf_counter() - start) * 1e3

    return median_passes(run)


def transformers(path, threads):
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache

    torch.set_num_threads(threads)
    folder, file = os.path.split(os.path.abspath(path))
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
    ids = torch.tensor([[100 + i % 50 for i in range(max(TOKENS))]])
    cache = DynamicCache()

    def run(count):
        beyond = cache.get_seq_length() - CONTEXT
        if beyond > 0:
            # Negative: tokens to remove; versions differ in what a positive number means.
            cache.crop(-beyond)
        start = time.perf_counter()
        model(input_ids=ids[:, :count], past_key_values=cache, use_cache=True)
        return (time.perf_counter() - start) * 1e3

    with torch.inference_mode():
        model(input_ids=ids[:, :CONTEXT], past_key_values=cache, use_cache=True)
        return median_passes(run)


PEERS = {"llama.cpp": llama_cpp, "transformers": transformers}


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
    parser.add_argument("--peers", default="llama.cpp", help="llama.cpp, transformers, or both")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--program", default="target/release/examples/pass_cost")
    args = parser.parse_args()
    peers = args.peers.split(",")
    if unknown := set(peers) - set(PEERS):
        parser.error(f"no peer is called {', '.join(sorted(unknown))}")
    spawn = multiprocessing.get_context("spawn")
    rounds = []
    for _ in range(args.rounds):
        one = {"ours": ours(args.program, args.model, args.dtype, args.threads)}
        for peer in peers:
            with spawn.Pool(1) as pool:
                one[peer] = pool.apply(PEERS[peer], (args.model, args.threads))
        rounds.append(one)
    for peer in peers:
        print(f"{args.rounds} rounds, {args.threads} threads, {os.path.basename(args.model)}; {args.dtype} against {peer}")
        print(f"tokens  ours ms  {peer + ' ms':>15}  ratio (least to most)")
        for count in TOKENS:
            mine = [one["ours"][count] for one in rounds]
            other = [one[peer][count] for one in rounds]
            ratios = [a / b for a, b in zip(mine, other)]
            print(
                f"{count:>6}  {statistics.median(mine):>7.2f}  {statistics.median(other):>15.2f}"
                f"  {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            )


if __name__ == "__main__":
    main()
