//! Logits of given token ids, for comparing with another implementation.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::Parser;
use fastdraft_examples::{Dtype, Outcome, finish};
use fastdraft_model::engine::cpu::{CpuModel, Segment, Workspace};
use safetensors::{Dtype as StoredDtype, SafeTensors, tensor::TensorView};

/// Reads `input_ids` [batch, seq] i64, writes `logits` [batch, seq, vocab] f32.
#[derive(Parser)]
struct Args {
    /// Hugging Face directory or GGUF file.
    #[arg(long)]
    model: PathBuf,
    /// Safetensors file with `input_ids`.
    #[arg(long)]
    input: PathBuf,
    /// Safetensors file to write.
    #[arg(long)]
    output: PathBuf,
    /// Weight format of the computation.
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
}

fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Outcome {
    let bytes = std::fs::read(&args.input).map_err(|e| format!("{}: {e}", args.input.display()))?;
    let file =
        SafeTensors::deserialize(&bytes).map_err(|e| format!("{}: {e}", args.input.display()))?;
    let ids = file
        .tensor("input_ids")
        .map_err(|e| format!("{}: {e}", args.input.display()))?;
    let &[batch, seq] = ids.shape() else {
        return Err(format!("input_ids has shape {:?}, not [batch, seq]", ids.shape()).into());
    };
    if ids.dtype() != StoredDtype::I64 || seq == 0 {
        return Err(format!("input_ids is {:?} {:?}", ids.dtype(), ids.shape()).into());
    }
    let tokens: Vec<u32> = ids
        .data()
        .chunks_exact(8)
        .map(|b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
        .map(|id| u32::try_from(id).map_err(|_| format!("token id {id} is out of range")))
        .collect::<Result<_, _>>()?;

    let model = CpuModel::load(&args.model, args.dtype.into())?;
    let (mut work, mut row_logits) = (Workspace::new(), Vec::new());
    let mut data = Vec::with_capacity(batch * seq * model.config().head_size * 4);
    for row in tokens.chunks_exact(seq) {
        let mut cache = model.cache(seq);
        let segment = Segment {
            cache: &mut cache,
            tokens: row,
            outputs: seq,
        };
        model.forward(&mut [segment], &mut work, &mut row_logits)?;
        data.extend(row_logits.iter().flat_map(|v| v.to_le_bytes()));
    }
    let shape = vec![batch, seq, model.config().head_size];
    let view = TensorView::new(StoredDtype::F32, shape, &data)?;
    let part = args.output.with_extension("part");
    safetensors::serialize_to_file(BTreeMap::from([("logits", view)]), None, &part)
        .map_err(|e| format!("{}: {e}", args.output.display()))?;
    std::fs::rename(&part, &args.output).map_err(|e| format!("{}: {e}", args.output.display()))?;
    Ok(())
}
