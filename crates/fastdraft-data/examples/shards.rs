//! Turns JSON Lines files into a folder of shards and prints rate and memory.
//!
//! `cargo run --release -p fastdraft-data --example shards -- TOKENIZER OUT FILE...`
//!
//! With `--compare` before the tokenizer, all texts are read into memory first and tokenised once
//! by `tokenizers` alone, to print the ratio of the two rates.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use fastdraft_data::shard::{ShardSetWriter, ShardSpec};
use fastdraft_data::source::{documents, encode::encode};
use fastdraft_data::{Packer, Tokenizer};

const SEQUENCE_LENGTH: usize = 1024;
const ROWS_PER_SHARD: u64 = 1 << 14;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let compare = arguments.first().is_some_and(|first| first == "--compare");
    if compare {
        arguments.remove(0);
    }
    let [tokenizer, out, files @ ..] = arguments.as_slice() else {
        return Err("usage: shards [--compare] TOKENIZER OUT FILE...".into());
    };
    let mut best = f64::MAX;
    for _ in 0..if compare { 3 } else { 1 } {
        best = best.min(shards(
            &Tokenizer::from_file(tokenizer)?,
            Path::new(out),
            files,
        )?);
    }
    if compare {
        let alone = alone(tokenizer, files)?;
        println!("ratio: {:.2} of the time of tokenizers alone", best / alone);
    }
    Ok(())
}

fn shards(tokenizer: &Tokenizer, out: &Path, files: &[String]) -> Result<f64, Box<dyn Error>> {
    std::fs::create_dir_all(out)?;
    let start = Instant::now();
    let spec = ShardSpec::for_tokenizer(SEQUENCE_LENGTH, tokenizer);
    let mut writer = ShardSetWriter::create(out, spec, ROWS_PER_SHARD)?;
    let mut packer = Packer::new(SEQUENCE_LENGTH, tokenizer.eos_id().unwrap_or(0));
    let (mut bytes, mut tokens) = (0, 0);
    for file in files {
        for document in encode(documents(file, "text")?, tokenizer) {
            let document = document?;
            bytes += document.bytes;
            tokens += document.ids.len();
            packer.push_document(&document.ids);
            writer.push(&packer.take_rows())?;
        }
    }
    writer.push(&packer.into_rest())?;
    let index = writer.finish()?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "shards: {:.1} MB of text, {tokens} tokens, {} rows in {seconds:.2} s, {:.2} MB/s, peak {} ",
        bytes as f64 / 1e6,
        index.rows,
        bytes as f64 / 1e6 / seconds,
        peak_memory(),
    );
    Ok(seconds)
}

fn alone(tokenizer: &str, files: &[String]) -> Result<f64, Box<dyn Error>> {
    let inner = tokenizers::Tokenizer::from_file(tokenizer).map_err(|error| error.to_string())?;
    let mut texts = Vec::new();
    for file in files {
        for document in documents(file, "text")? {
            texts.push(document?.text);
        }
    }
    let bytes: usize = texts.iter().map(String::len).sum();
    let mut best = f64::MAX;
    for _ in 0..3 {
        let inputs: Vec<&str> = texts.iter().map(String::as_str).collect();
        let start = Instant::now();
        let encoded = inner
            .encode_batch_fast(inputs, false)
            .map_err(|error| error.to_string())?;
        best = best.min(start.elapsed().as_secs_f64());
        drop(encoded);
    }
    println!(
        "tokenizers alone: {best:.2} s, {:.2} MB/s",
        bytes as f64 / 1e6 / best
    );
    Ok(best)
}

/// The most memory this process has had, where the system says.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.map_or("unknown".into(), |line| {
        line.trim_start_matches("VmHWM:").trim().to_owned()
    })
}
