//! An input far larger than the memory that is allowed for it.
//!
//! ```text
//! cargo bench -p fastdraft-data --bench large -- --tokenizer tokenizer.json --gigabytes 10 \
//!     [--form jsonl|jsonl.gz|txt] [--folder FOLDER] [--alone yes] [--python PYTHON] TEXTS.jsonl...
//! ```
//!
//! Rows of the given files are written again and again, each with its number in front, until the
//! input is as large as asked for; input and shards are removed afterwards. `--alone yes` times the
//! `tokenizers` crate alone, `--python` the Python package of that name, both on the beginning of
//! the input; the peak is that of the pipeline, read before.

mod common;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Arguments, Outcome, alone, documents, peak_memory, pipeline, texts};
use fastdraft_data::Tokenizer;
use fastdraft_data::source::Document;
use flate2::{Compression, write::GzEncoder};

/// Text that `tokenizers` alone is timed on; its encodings take many times as much memory.
const SAMPLE: usize = 48 << 20;

fn main() -> Outcome<()> {
    let arguments = Arguments::read();
    let (Some(path), Some(gigabytes)) = (arguments.get("tokenizer"), arguments.get("gigabytes"))
    else {
        println!(
            "usage: --tokenizer tokenizer.json --gigabytes N [--form jsonl|jsonl.gz|txt] [--folder FOLDER] \
             [--alone yes] [--python PYTHON] TEXTS.jsonl..."
        );
        return Ok(());
    };
    let folder = match arguments.get("folder") {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let form = arguments.get("form").unwrap_or("jsonl");
    let input = folder.path().join(format!("large.{form}"));
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
        "{form}: {:.2} GB of input, {:.2} GB of text, {} tokens, {} rows in {:.0} s: {:.2} MB/s, peak {:.0} MB (bound 300)",
        written as f64 / 1e9,
        run.bytes as f64 / 1e9,
        run.tokens,
        run.rows,
        run.seconds,
        run.rate(),
        peak.unwrap_or(f64::NAN)
    );
    let (library, python) = (arguments.get("alone"), arguments.get("python"));
    if library.is_none() && python.is_none() {
        return Ok(());
    }
    let sample = texts(&[input], SAMPLE)?;
    let report = |name: &str, peer: f64| {
        println!(
            "{name} alone on the first {} MiB: {peer:.2} MB/s; ratio {:.2} (bound 1.5)",
            SAMPLE >> 20,
            peer / run.rate()
        );
    };
    if library.is_some() {
        report("tokenizers", alone(Path::new(path), &sample, 3)?);
    }
    if let Some(python) = python {
        let file = folder.path().join("sample.json");
        serde_json::to_writer(BufWriter::new(File::create(&file)?), &sample)?;
        report("Python tokenizers", python_alone(python, path, &file)?);
    }
    Ok(())
}

fn python_alone(python: &str, tokenizer: &str, texts: &Path) -> Outcome<f64> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/alone.py");
    let output = Command::new(python)
        .arg(script)
        .arg(tokenizer)
        .arg(texts)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.trim().parse() {
        Ok(rate) => Ok(rate),
        Err(_) => Err(format!("peer: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn write_input(path: &Path, files: &[PathBuf], bytes: f64) -> Outcome<u64> {
    let file = BufWriter::new(File::create(path)?);
    let name = path.to_string_lossy();
    let plain = name.ends_with(".txt");
    let mut file: Box<dyn Write> = if name.ends_with(".gz") {
        Box::new(GzEncoder::new(file, Compression::fast()))
    } else {
        Box::new(file)
    };
    let (mut written, mut number) = (0u64, 0u64);
    while (written as f64) < bytes {
        let before = written;
        for source in files {
            for document in documents(source)? {
                let mut row = Vec::new();
                let text = format!("{number} {}", document?.text);
                if plain {
                    row.extend(text.into_bytes());
                } else {
                    let id = number.to_string();
                    serde_json::to_writer(&mut row, &Document { id, text })?;
                }
                row.push(b'\n');
                file.write_all(&row)?;
                written += row.len() as u64;
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
