//! Text to shards and shards to batches, as ratios to peers in the same run.
//!
//! ```text
//! cargo bench -p fastdraft-data --bench pipeline -- --tokenizer tokenizer.json \
//!     [--python PYTHON] TEXTS.jsonl...
//! ```
//!
//! The peers are `tokenizers` alone and, where PYTHON has `tokenizers` and `datasets`,
//! `peers/pipeline.py`.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use common::{Arguments, Outcome, SEQUENCE_LENGTH, alone, pipeline, texts};
use fastdraft_data::shard::ShardSet;
use fastdraft_data::{ShardLoader, Tokenizer};

/// What a loader has to be compared with: tokens that a trainer takes in a second.
const APPETITE: f64 = 1000.0;
const BATCH: usize = 8;

fn main() -> Outcome<()> {
    let arguments = Arguments::read();
    let Some(path) = arguments.get("tokenizer").map(PathBuf::from) else {
        println!("usage: --tokenizer tokenizer.json [--python PYTHON] TEXTS.jsonl...");
        return Ok(());
    };
    let tokenizer = Tokenizer::from_file(&path)?;
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("shards");

    let mut best = pipeline(&tokenizer, &out, &arguments.files, false)?;
    for _ in 0..2 {
        // A second tokenizer starts with an empty cache, as the first did.
        let again = pipeline(&Tokenizer::from_file(&path)?, &out, &arguments.files, false)?;
        if again.seconds < best.seconds {
            best = again;
        }
    }
    let rate = best.rate();
    println!(
        "read + tokenise + pack + write: {rate:.2} MB/s ({:.1} MB, {} tokens, {} rows, {:.2} s)",
        best.bytes as f64 / 1e6,
        best.tokens,
        best.rows,
        best.seconds
    );
    let other = folder.path().join("clean");
    let clean = pipeline(
        &Tokenizer::from_file(&path)?,
        &other,
        &arguments.files,
        true,
    )?;
    println!(
        "with hygiene: {:.2} MB/s, {:.2}x of the time",
        clean.rate(),
        clean.seconds / best.seconds
    );

    let texts = texts(&arguments.files, usize::MAX)?;
    let peer = alone(&path, &texts, 3)?;
    drop(texts);
    println!(
        "tokenizers alone: {peer:.2} MB/s; ratio {:.2} (bound 1.5)",
        peer / rate
    );
    if let Some(python) = arguments.get("python") {
        python_peer(python, &path, folder.path(), &arguments.files, rate)?;
    }
    loader(&out, &tokenizer)
}

fn python_peer(
    python: &str,
    tokenizer: &Path,
    folder: &Path,
    files: &[PathBuf],
    rate: f64,
) -> Outcome<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/pipeline.py");
    let output = Command::new(python)
        .arg(script)
        .arg(tokenizer)
        .arg(folder.join("datasets"))
        .args(files)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(peer) = text.lines().find_map(|line| line.strip_prefix("rate: ")) else {
        return Err(format!("peer: {}", String::from_utf8_lossy(&output.stderr)).into());
    };
    let peer: f64 = peer.trim().parse()?;
    println!(
        "python tokenizers + datasets: {peer:.2} MB/s; we are {:.2}x as fast",
        rate / peer
    );
    Ok(())
}

fn loader(shards: &Path, tokenizer: &Tokenizer) -> Outcome<()> {
    let open = || ShardSet::open(shards, tokenizer.fingerprint());
    for ahead in [0, 4] {
        let set = open()?;
        let steps = 4 * set.rows() as usize / BATCH;
        let loader = ShardLoader::new(set, BATCH, 42)?;
        let start = Instant::now();
        let mut tokens = 0;
        if ahead == 0 {
            for step in 0..steps {
                tokens += loader.batch(step)?.rows() * SEQUENCE_LENGTH;
            }
        } else {
            for batch in loader.prefetch(0, ahead).take(steps) {
                tokens += batch?.rows() * SEQUENCE_LENGTH;
            }
        }
        let rate = tokens as f64 / start.elapsed().as_secs_f64();
        println!(
            "loader, {ahead} batches ahead: {:.2} million tokens/s, {:.0} batches/s, {:.0}x a trainer of {APPETITE} tokens/s (bound 50)",
            rate / 1e6,
            rate / (BATCH * SEQUENCE_LENGTH) as f64,
            rate / APPETITE
        );
    }
    Ok(())
}
