"""The same work with `tokenizers` and `datasets`: load, tokenise, group, save.

    pipeline.py TOKENIZER.json OUT TEXTS.jsonl...
"""

import os
import sys
import time

import datasets
import tokenizers

LENGTH = 1024


def main(path, out, files):
    datasets.disable_progress_bars()
    tokenizer = tokenizers.Tokenizer.from_file(path)
    end = 0
    start = time.perf_counter()
    cache = os.path.join(out, "cache")
    parts = [
        datasets.load_dataset("json", data_files=[file], split="train", cache_dir=cache)
        for file in files
    ]
    # Files differ in their other columns.
    texts = datasets.concatenate_datasets([part.select_columns(["text"]) for part in parts])

    def encode(batch):
        encoded = tokenizer.encode_batch_fast(batch["text"], add_special_tokens=False)
        return {"ids": [one.ids + [end] for one in encoded]}

    def group(batch):
        joined = [id for ids in batch["ids"] for id in ids]
        rows = len(joined) // LENGTH
        return {"ids": [joined[i * LENGTH : (i + 1) * LENGTH] for i in range(rows)]}

    features = datasets.Features({"ids": datasets.List(datasets.Value("int32"))})
    ids = texts.map(encode, batched=True, remove_columns=["text"], features=features)
    rows = ids.map(group, batched=True, features=features)
    rows.save_to_disk(os.path.join(out, "rows"))
    seconds = time.perf_counter() - start
    size = sum(len(text.encode()) for text in texts["text"])
    print("rows:", rows.num_rows)
    print("rate:", size / 1e6 / seconds)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
