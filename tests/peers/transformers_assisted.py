"""transformers' assisted generation with a draft of ours: greedy text must be the target's own.

    pip install torch transformers tokenizers safetensors
    cargo run --release -p fastdraft-model --example convert -- TARGET.gguf out/target hf
    cargo run --release --example export -- --draft assets/smollm2-135m-draft --hf out/draft
    python tests/peers/transformers_assisted.py out/target out/draft PROMPTS.jsonl

Prints, for each prompt, whether the two texts are equal, and the target's passes with the draft.
"""

import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TOKENS = 48
GAMMA = 3


def main(target_dir, draft_dir, prompts):
    target = AutoModelForCausalLM.from_pretrained(target_dir, dtype=torch.float32)
    draft = AutoModelForCausalLM.from_pretrained(draft_dir, dtype=torch.float32)
    draft.generation_config.num_assistant_tokens = GAMMA
    draft.generation_config.num_assistant_tokens_schedule = "constant"
    draft.generation_config.assistant_confidence_threshold = 0.0
    tokenizer = AutoTokenizer.from_pretrained(draft_dir)
    passes = 0

    def count(*_):
        nonlocal passes
        passes += 1

    target.register_forward_hook(count)
    wrong = 0
    for line in open(prompts, encoding="utf-8"):
        prompt = json.loads(line)
        ids = tokenizer(prompt["prompt"], return_tensors="pt").input_ids
        settings = {"max_new_tokens": TOKENS, "do_sample": False, "pad_token_id": 0}
        plain = target.generate(ids, **settings)
        passes = 0
        assisted = target.generate(ids, assistant_model=draft, **settings)
        equal = torch.equal(plain, assisted)
        wrong += not equal
        new = assisted.shape[1] - ids.shape[1]
        print(f"{prompt['id']}: equal {equal}, {new} tokens in {passes} passes of the target")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main(*sys.argv[1:4])
