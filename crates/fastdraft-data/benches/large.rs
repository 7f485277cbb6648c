//! An input far larger than the memory that is allowed for it.
//!
//! ```text
//! cargo bench -p fastdraft-data --bench large -- --tokenizer tokenizer.json --gigabytes 10 \
//!     [--folder FOLDER] TEXTS.jsonl...
//! ```
//!
//! Rows of the given files are written again and again, each with its number in front, until the
//! input is as large as asked for; input and shards are removed afterwards.

mod common;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use common::{Arguments, Outcome, alone, peak_memory, pipeline, texts};
use fastdraft_data::Tokenizer;
use fastdraft_data::source::{Document, documents};

/// Text that `tokenizers` alone is timed on; its encodings take many times as much memory.
const SAMPLE: usize = 48 << 20;

fn main() -> Outcome<()> {
    let arguments = Arguments::read();
    let (Some(path), Some(gigabytes)) = (arguments.get("tokenizer"), arguments.get("gigabytes"))
    else {
        println!(
            "usage: --tokenizer tokenizer.json --gigabytes N [--folder FOLDER] TEXTS.jsonl..."
        );
        return Ok(());
    };
    let folder = match arguments.get("folder") {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let input = folder.path().join("large.jsonl");
    let written = write_input(&input, &arguments.files, gigabytes.parse::<f64>()? * 1e9)?;
    let tokenizer = Tokenizer::from_file(path)?;
    let run = pipeline(
        &tokenizer,
        &folder.path().join("shards"),
        std::slice::from_ref(&input),
        false,
    )?;
    let peak = peak_memory();
    println!(
        "{:.2} GB of JSON Lines, {:.2} GB of text, {} tokens, {} rows in {:.0} s: {:.2} MB/s, peak {:.0} MB (bound 300)",
        written as f64 / 1e9,
        run.bytes as f64 / 1e9,
        run.tokens,
        run.rows,
        run.seconds,
        run.rate(),
        peak.unwrap_or(f64::NAN)
    );
    let peer = alone(Path::new(path), &texts(&[input], SAMPLE)?, 3)?;
    println!(
        "tokenizers alone on the first {} MiB: {peer:.2} MB/s; ratio {:.2} (bound 1.5)",
        SAMPLE >> 20,
        peer / run.rate()
    );
    Ok(())
}

fn write_input(path: &Path, files: &[PathBuf], bytes: f64) -> Outcome<u64> {
    let mut file = BufWriter::new(File::create(path)?);
    let (mut written, mut number) = (0u64, 0u64);
    while (written as f64) < bytes {
        let before = written;
        for source in files {
            for document in documents(source, "text")? {
                let document = document?;
                let row = serde_json::to_vec(&Document {
                    id: format!("{number}"),
                    text: format!("{number} {}", document.text),
                })?;
                file.write_all(&row)?;
                file.write_all(b"\n")?;
                written += row.len() as u64 + 1;
                number += 1;
                if written as f64 >= bytes {
                    break;
                }
            }
        }
        if written == before {
            return Err("there are no texts".into());
        }
    }
    file.flush()?;
    Ok(written)
}
