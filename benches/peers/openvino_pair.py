"""OpenVINO GenAI on its CPU device: plain against speculative decoding with a draft of ours.

    pip install torch transformers optimum-intel openvino openvino-genai openvino-tokenizers
    cargo run --release -p fastdraft-model --example convert -- TARGET.gguf out/target hf
    cargo run --release --example export -- --draft assets/smollm2-135m-draft --hf out/draft
    cp out/draft/tokenizer.json out/target
    python benches/peers/openvino_pair.py --target out/target --draft out/draft --work out/ov assets/eval/*.jsonl

Both directories are exported once, with the target's tokenizer, to `--work`. Prints tokens a second of both, prompt by prompt in
turn, their ratio, and how many greedy texts are the same.
"""

import argparse
import json
import pathlib
import statistics
import time


def exported(source, tokenizer_of, folder, weights):
    """OpenVINO's form of a Hugging Face directory, made once. Both models must have one tokenizer, file by file."""
    if (folder / "openvino_tokenizer.xml").exists():
        return folder
    from openvino import save_model
    from openvino_tokenizers import convert_tokenizer
    from optimum.intel import OVModelForCausalLM
    from optimum.intel.openvino.configuration import OVWeightQuantizationConfig
    from transformers import AutoTokenizer

    config = OVWeightQuantizationConfig(bits=8) if weights == "int8" else None
    model = OVModelForCausalLM.from_pretrained(source, export=True, quantization_config=config)
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    tokenizer.save_pretrained(folder)
    text_to_ids, ids_to_text = convert_tokenizer(tokenizer, with_detokenizer=True)
    save_model(ids_to_text, folder / "openvino_detokenizer.xml")
    save_model(text_to_ids, folder / "openvino_tokenizer.xml")
    return folder


def read(paths, limit):
    for path in paths:
        with open(path, encoding="utf-8") as file:
            yield from [json.loads(line) for line in file][:limit]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True)
    parser.add_argument("--draft", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--weights", choices=("f32", "int8"), default="int8")
    parser.add_argument("--gamma", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--limit", type=int, default=6, help="prompts of each file")
    parser.add_argument("prompts", nargs="+")
    args = parser.parse_args()

    import openvino_genai as genai

    target = exported(args.target, args.target, args.work / f"target-{args.weights}", args.weights)
    draft = exported(args.draft, args.target, args.work / f"draft-{args.weights}", args.weights)
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 1
    plain = genai.LLMPipeline(str(target), "CPU", scheduler_config=scheduler)
    helped = genai.LLMPipeline(
        str(target), "CPU", scheduler_config=scheduler, draft_model=genai.draft_model(str(draft), "CPU")
    )

    def settings(**more):
        config = genai.GenerationConfig()
        config.max_new_tokens = args.tokens
        config.do_sample = False
        config.apply_chat_template = False
        for name, value in more.items():
            setattr(config, name, value)
        return config

    def timed(pipeline, prompt, config):
        start = time.perf_counter()
        result = pipeline.generate([prompt], config)
        seconds = time.perf_counter() - start
        return result.texts[0], result.perf_metrics.get_num_generated_tokens() / seconds

    for pipeline, config in ((plain, settings()), (helped, settings(num_assistant_tokens=args.gamma))):
        timed(pipeline, "Warm up.", config)
    rows = {}
    for prompt in read(args.prompts, args.limit):
        text, rate = timed(plain, prompt["prompt"], settings())
        other, faster = timed(helped, prompt["prompt"], settings(num_assistant_tokens=args.gamma))
        rows.setdefault(prompt["task"], []).append((rate, faster, text == other))
    print("| task | prompts | plain, tokens/s | speculative, tokens/s | ratio | same text |")
    print("|---|---:|---:|---:|---:|---:|")
    for task, found in rows.items():
        rate, faster = (statistics.median(column) for column in list(zip(*found))[:2])
        ratio = statistics.median(b / a for a, b, _ in found)
        same = sum(equal for _, _, equal in found)
        print(f"| {task} | {len(found)} | {rate:.1f} | {faster:.1f} | {ratio:.2f} | {same} |")


if __name__ == "__main__":
    main()
