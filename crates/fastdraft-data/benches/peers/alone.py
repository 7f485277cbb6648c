"""`tokenizers` alone over texts in memory, best of three; prints MB/s.

    alone.py TOKENIZER.json TEXTS.json
"""

import json
import sys
import time

import tokenizers


def main(path, texts):
    tokenizer = tokenizers.Tokenizer.from_file(path)
    with open(texts) as file:
        texts = json.load(file)
    size = sum(len(text.encode()) for text in texts)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        best = min(best, time.perf_counter() - start)
        del encoded
    print(size / 1e6 / best)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
