//! Speculative decoding of a model that candle runs, with prompt lookup as the draft.
//!
//! `cargo run --release -- model.gguf [temperature]` generates with and without the draft and
//! compares. Any GGUF of the Llama architecture with a byte-level BPE tokenizer will do.

mod llama;

use std::error::Error;
use std::ops::ControlFlow;
use std::time::Instant;

use candle_core::quantized::gguf_file::Content;
use candle_core::quantized::tokenizer::TokenizerFromGguf;
use fastdraft_specdec::{
    Generation, PromptLookup, SessionConfig, TokenId, Transform, generate, generate_plain,
};
use tokenizers::Tokenizer;

use llama::CandleLlama;

const PROMPT: &str = "<|im_start|>user\nRepeat this code with `width` renamed to `columns`:\n\
    def fill(width, height, value):\n    rows = []\n    for y in range(height):\n        \
    rows.append([value for x in range(width)])\n    return rows<|im_end|>\n\
    <|im_start|>assistant\n";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("usage: <model.gguf> [temperature]")?;
    let temperature = arguments.next().map_or(Ok(0.0), |t| t.parse())?;
    let content = Content::read(&mut std::fs::File::open(&path)?)?;
    let tokenizer = Tokenizer::from_gguf(&content)?;
    let mut target = CandleLlama::load(&path)?;
    let prompt = tokenizer.encode(PROMPT, false).map_err(|e| e.to_string())?;
    let config = SessionConfig {
        gamma: 5,
        max_new_tokens: 96,
        transform: Transform::temperature(temperature),
        ..SessionConfig::default()
    };
    let go = |_: fastdraft_specdec::Emitted<'_>| ControlFlow::Continue(());
    let begin = Instant::now();
    let plain = generate_plain(&mut target, prompt.get_ids(), &config, go)?;
    report("plain", &plain, begin);
    let begin = Instant::now();
    let mut draft = PromptLookup::new(1, 3);
    let fast = generate(&mut draft, &mut target, prompt.get_ids(), &config, go)?;
    report("with prompt lookup", &fast, begin);
    println!("{}", decode(&tokenizer, &fast.tokens)?);
    match plain
        .tokens
        .iter()
        .zip(&fast.tokens)
        .position(|(a, b)| a != b)
    {
        None => println!("the {} tokens are the same", plain.tokens.len()),
        // Sampling consumes other random numbers: the law is the same, the tokens are not.
        Some(at) => println!("the tokens differ from position {at}"),
    }
    Ok(())
}

fn report(name: &str, generation: &Generation, begin: Instant) {
    let seconds = begin.elapsed().as_secs_f64();
    let metrics = &generation.metrics;
    println!(
        "{name}: {:.1} tokens/s, {} target passes, block efficiency {:.2}, acceptance rate {:.2}",
        generation.tokens.len() as f64 / seconds,
        metrics.target_passes,
        metrics.block_efficiency().unwrap_or(0.0),
        metrics.acceptance_rate().unwrap_or(0.0),
    );
}

fn decode(tokenizer: &Tokenizer, tokens: &[TokenId]) -> Result<String, Box<dyn Error>> {
    Ok(tokenizer.decode(tokens, true).map_err(|e| e.to_string())?)
}
