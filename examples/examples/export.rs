//! A draft in another form: `export --draft D (--blocks F | --gguf F | --hf DIR)`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args as ClapArgs, Parser, ValueEnum};
use fastdraft_examples::{Dtype, Outcome, finish, resolve, target};
use fastdraft_model::{
    draft::{blocks, sharpen::sharpen, whole::whole},
    export::gguf::{self, GgufFormat, GgufFormats},
    import::gguf::GgufFile,
};
use fastdraft_train::target::{load_draft, save_draft};

/// Rewrites a draft.
#[derive(Parser)]
struct Args {
    /// A GGUF file or a known name; its tokenizer goes into the output.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    target: String,
    /// The draft, in any form.
    #[arg(long)]
    draft: PathBuf,
    /// Multiplies the draft's logits, see `fastdraft_model::draft::sharpen`.
    #[arg(long)]
    sharpen: Option<f32>,
    #[command(flatten)]
    out: Out,
    /// Blocks in a GGUF file.
    #[arg(long, value_enum, default_value = "q8-0")]
    format: Format,
    /// Embedding and head in a GGUF file; as the blocks if not given.
    #[arg(long, value_enum)]
    vocabulary_format: Option<Format>,
}

#[derive(ClapArgs)]
#[group(required = true, multiple = false)]
struct Out {
    /// A file with all that the draft adds to its target.
    #[arg(long)]
    blocks: Option<PathBuf>,
    /// A GGUF file with the whole vocabulary, for llama.cpp and others.
    #[arg(long)]
    gguf: Option<PathBuf>,
    /// A Hugging Face directory with the whole vocabulary, for transformers and others.
    #[arg(long)]
    hf: Option<PathBuf>,
}

/// Formats of a GGUF file.
#[derive(Clone, Copy, ValueEnum)]
enum Format {
    F32,
    F16,
    Bf16,
    #[value(name = "q8-0", alias = "q8_0")]
    Q8_0,
    #[value(name = "q4-0", alias = "q4_0")]
    Q4_0,
}

impl From<Format> for GgufFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::F32 => Self::F32,
            Format::F16 => Self::F16,
            Format::Bf16 => Self::BF16,
            Format::Q8_0 => Self::Q8_0,
            Format::Q4_0 => Self::Q4_0,
        }
    }
}

fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Outcome {
    let model = target(&args.target, Dtype::Bf16)?;
    let mut draft = load_draft(&args.draft, &model)?;
    if let Some(scale) = args.sharpen {
        sharpen(&mut draft, scale)?;
    }
    if let Some(path) = &args.out.blocks {
        let fingerprint = model.tokenizer.fingerprint();
        blocks::save(path, &draft, &model.checkpoint()?, fingerprint)?;
        println!("{}", path.display());
    }
    if let Some(path) = &args.out.gguf {
        let tokenizer = GgufFile::open(&resolve(&args.target)?)?.tokenizer()?;
        let formats = GgufFormats {
            blocks: args.format.into(),
            vocabulary: args.vocabulary_format.unwrap_or(args.format).into(),
        };
        gguf::save(path, &whole(&draft)?, &tokenizer, formats)?;
        println!("{}", path.display());
    }
    if let Some(path) = &args.out.hf {
        save_draft(path, &whole(&draft)?, &model.tokenizer)?;
        println!("{}", path.display());
    }
    Ok(())
}
