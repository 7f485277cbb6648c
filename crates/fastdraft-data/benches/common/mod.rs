//! What the benches share: arguments, the pipeline, and `tokenizers` alone beside it.
#![allow(dead_code)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fastdraft_data::hygiene::{Cleaner, DuplicateConfig};
use fastdraft_data::shard::{ShardSetWriter, ShardSpec};
use fastdraft_data::source::{self, Document, encode::encode, text};
use fastdraft_data::{DataError, Packer, Tokenizer};

pub type Outcome<T> = Result<T, Box<dyn Error>>;

pub const SEQUENCE_LENGTH: usize = 1024;
const ROWS_PER_SHARD: u64 = 1 << 14;
/// Where plain text is cut into documents.
const PIECE: usize = 1 << 20;

/// `--name value` pairs and, after them, files; what cargo adds is left out.
pub struct Arguments {
    options: Vec<(String, String)>,
    pub files: Vec<PathBuf>,
}

impl Arguments {
    pub fn read() -> Self {
        let mut all = std::env::args().skip(1).filter(|one| one != "--bench");
        let (mut options, mut files) = (Vec::new(), Vec::new());
        while let Some(one) = all.next() {
            match one.strip_prefix("--") {
                Some(name) => options.push((name.to_owned(), all.next().unwrap_or_default())),
                None => files.push(one.into()),
            }
        }
        Self { options, files }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.options.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What the pipeline did.
pub struct Run {
    pub bytes: usize,
    pub tokens: usize,
    pub rows: u64,
    pub seconds: f64,
}

impl Run {
    pub fn rate(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }
}

/// The documents of a file of plain text or JSON Lines.
pub fn documents(
    path: &Path,
) -> Result<Box<dyn Iterator<Item = Result<Document, DataError>>>, DataError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(if name.contains(".txt") {
        Box::new(text::documents(path, text::Unit::File, PIECE)?)
    } else {
        Box::new(source::documents(path, "text")?)
    })
}

/// Reads JSON Lines or plain text, tokenises, packs and writes shards with their card and index.
pub fn pipeline(tokenizer: &Tokenizer, out: &Path, files: &[PathBuf], clean: bool) -> Outcome<Run> {
    std::fs::create_dir_all(out)?;
    let start = Instant::now();
    let spec = ShardSpec::for_tokenizer(SEQUENCE_LENGTH, tokenizer);
    let mut writer = ShardSetWriter::create(out, spec, ROWS_PER_SHARD)?;
    let mut packer = Packer::new(SEQUENCE_LENGTH, tokenizer.eos_id().unwrap_or(0));
    let mut cleaner = Cleaner::new(clean.then(DuplicateConfig::default), None);
    let (mut bytes, mut tokens) = (0, 0);
    for file in files {
        let texts = documents(file)?;
        // A cleaner without anything to look for would still cost a batch of memory.
        let texts: Box<dyn Iterator<Item = _>> = if clean {
            Box::new(cleaner.clean(texts))
        } else {
            Box::new(texts)
        };
        for document in encode(texts, tokenizer) {
            let document = document?;
            bytes += document.bytes;
            tokens += document.ids.len();
            packer.push_document(&document.ids);
            writer.push(&packer.take_rows())?;
        }
    }
    writer.push(&packer.into_rest())?;
    let rows = writer.finish()?.rows;
    if clean {
        println!("hygiene: {}", cleaner.counts());
    }
    Ok(Run {
        bytes,
        tokens,
        rows,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// MB/s of `tokenizers` alone over texts that are in memory, best of some rounds.
pub fn alone(tokenizer: &Path, texts: &[String], rounds: usize) -> Outcome<f64> {
    let inner = tokenizers::Tokenizer::from_file(tokenizer).map_err(|error| error.to_string())?;
    let bytes: usize = texts.iter().map(String::len).sum();
    let mut best = f64::MAX;
    for _ in 0..rounds {
        let inputs: Vec<&str> = texts.iter().map(String::as_str).collect();
        let start = Instant::now();
        let encoded = inner
            .encode_batch_fast(inputs, false)
            .map_err(|error| error.to_string())?;
        best = best.min(start.elapsed().as_secs_f64());
        drop(encoded);
    }
    Ok(bytes as f64 / 1e6 / best)
}

/// The first texts of some files, up to so many bytes.
pub fn texts(files: &[PathBuf], most: usize) -> Outcome<Vec<String>> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    for file in files {
        for document in documents(file)? {
            let text = document?.text;
            bytes += text.len();
            found.push(text);
            if bytes >= most {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// The most memory this process has had, in MB, where the system says.
pub fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes * 1024.0 / 1e6)
}
