//! A model in another format.
//!
//! `cargo run --release --example convert -- MODEL OUT hf`
//! `cargo run --release --example convert -- MODEL OUT.gguf f16 TOKENIZER.gguf`
//!
//! MODEL is a Hugging Face directory, whose tokenizer is carried along, or a GGUF file. With a fourth argument `trim`, `hf` keeps
//! every third row of the head, to see what other programs make of a trimmed draft.

use std::{error::Error, path::Path};

use fastdraft_model::{
    Checkpoint, DraftVocabulary,
    draft::init,
    export::{
        gguf::{self, GgufFormat},
        hf,
    },
    import::{self, gguf::GgufFile},
};

const USAGE: &str = "usage: convert MODEL OUT hf [trim] | f32|f16|bf16|q8_0 TOKENIZER.gguf";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (model, out, format, rest) = match arguments.as_slice() {
        [model, out, format, rest @ ..] => (Path::new(model), Path::new(out), *format, rest),
        _ => return Err(USAGE.into()),
    };
    let checkpoint = import::load(model)?;
    let format = match (format, rest) {
        ("hf", []) => return Ok(hf::save_with(out, &checkpoint, &tokenizer(model)?)?),
        ("hf", ["trim"]) => {
            let draft = trimmed(&checkpoint)?;
            return Ok(hf::save_with(out, &draft, &tokenizer(model)?)?);
        }
        ("f32", _) => GgufFormat::F32,
        ("f16", _) => GgufFormat::F16,
        ("bf16", _) => GgufFormat::BF16,
        ("q8_0", _) => GgufFormat::Q8_0,
        _ => return Err(USAGE.into()),
    };
    let [tokenizer] = rest else {
        return Err(USAGE.into());
    };
    let tokenizer = GgufFile::open(Path::new(tokenizer))?.tokenizer()?;
    Ok(gguf::save(out, &checkpoint, &tokenizer, format)?)
}

fn tokenizer(model: &Path) -> Result<hf::TokenizerFiles, Box<dyn Error>> {
    if model.is_dir() {
        return Ok(hf::TokenizerFiles::read(model)?);
    }
    let mut files = hf::TokenizerFiles::new();
    files.describe(&GgufFile::open(model)?.tokenizer()?);
    Ok(files)
}

fn trimmed(checkpoint: &Checkpoint) -> Result<Checkpoint, Box<dyn Error>> {
    let size = checkpoint.config.vocabulary_size;
    let kept = DraftVocabulary::new((0..size as u32).step_by(3).collect(), size)?;
    let blocks: Vec<usize> = (0..checkpoint.config.layers).collect();
    Ok(init::from_target(checkpoint, &blocks, Some(kept))?)
}
