//! Bytes that a training step keeps on one device.

use super::input::{Optimizer, PlanInput, StageInput};
use crate::error::HwError;
use crate::profile::{Dtype, Profile, ProfileKind};
use crate::shape::DecoderShape;

/// Rows whose logits exist at a time: head and loss go through the tokens in pieces.
const PIECE: f64 = 1024.0;

/// Logits that exist at a time where training is in this process, as exponentials.
const LOGITS: f64 = 41_943_040.0;

/// Bytes on one device.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct MemoryUse {
    /// Weights, gradients and optimizer state.
    pub state: f64,
    /// What the backward pass needs of the forward pass.
    pub activations: f64,
    /// Logits and their gradient, of one piece.
    pub logits: f64,
}

impl MemoryUse {
    /// Their sum.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.state + self.activations + self.logits
    }
}

/// Parameters that are trained.
pub(super) fn trainable(input: &PlanInput) -> u64 {
    let draft = &input.draft;
    // A tied embedding is the head, and trained as such.
    let frozen = if input.frozen_embedding && !draft.tied {
        draft.vocabulary_size * draft.hidden_size
    } else {
        0
    };
    draft.parameters() - frozen
}

/// Bytes that a step over `rows` rows of `sequence_length` tokens keeps on one device.
///
/// A trained parameter takes 16 bytes with AdamW (Rajbhandari et al., arXiv 1910.02054, section
/// 3.1). A token keeps, in each block, the inputs of both norms and of what follows them, queries,
/// keys, values, the output of attention, and the gate, its partner and their product. On a
/// processor the trainer also keeps the weights from before the stage, and the matrices of one block
/// once more, as products read them.
#[must_use]
pub fn memory_use(
    input: &PlanInput,
    rows: u64,
    sequence_length: u64,
    profile: &Profile,
) -> MemoryUse {
    let draft: &DecoderShape = &input.draft;
    let number = profile.dtype.bytes();
    let trained = trainable(input);
    let bytes = match (input.optimizer, profile.dtype) {
        (Optimizer::AdamW, _) => 16.0,
        (Optimizer::Sgd, Dtype::F32) => 8.0,
        // A copy of the weights in f32 remains.
        (Optimizer::Sgd, Dtype::Bf16) => 8.0,
    };
    let frozen = (draft.parameters() - trained) as f64 * number;
    let tokens = rows as f64 * sequence_length as f64;
    let block = (4 * draft.hidden_size
        + 2 * (draft.query_width() + draft.kv_width())
        + 3 * draft.intermediate_size) as f64;
    let head = draft.head_size as f64;
    let (copies, logits) = match profile.kind {
        ProfileKind::Cpu => (
            trained as f64 * number + draft.block_parameters() as f64 * 4.0,
            (tokens * head).min(LOGITS) * 4.0,
        ),
        _ => (0.0, tokens.min(PIECE) * head * 2.0 * 4.0),
    };
    MemoryUse {
        state: trained as f64 * bytes + frozen + copies,
        activations: tokens
            * number
            * (draft.layers as f64 * block + 2.0 * draft.hidden_size as f64),
        logits,
    }
}

/// The target of a stage that has it beside the draft.
pub(super) fn teacher<'a>(input: &'a PlanInput, stage: &StageInput) -> Option<&'a DecoderShape> {
    input.target.as_ref().filter(|_| stage.live_teacher)
}

/// The bytes of a stage, or what would fit.
pub(super) fn check(
    input: &PlanInput,
    stage: &StageInput,
    rows: u64,
    count: u64,
    profile: &Profile,
    available: f64,
) -> Result<f64, HwError> {
    let teacher = teacher(input, stage);
    let held = teacher.map_or(0, DecoderShape::parameters) as f64 * profile.dtype.bytes();
    let of = |rows: u64, length: u64| {
        let rows = rows.div_ceil(stage.accumulation.max(1));
        held + memory_use(input, rows, length, profile).total()
    };
    let needed = of(rows, input.sequence_length);
    if needed <= available {
        return Ok(needed);
    }
    let length = input.sequence_length;
    let fewer = largest(rows, |rows| of(rows, length) <= available);
    let shorter = largest(length, |length| of(1, length) <= available);
    let fits = if held > available {
        let held = readable(held);
        format!("no draft beside {held} of the target; recorded teacher logits need none of it")
    } else if fewer > 0 {
        let batch = fewer.saturating_mul(count);
        format!("a batch of {batch} rows of {length} tokens ({fewer} a device)")
    } else if shorter > 0 {
        format!("one row of {shorter} tokens a device")
    } else {
        let parameters = (available - held).max(0.0) / 16.0 / 1e6;
        format!("no row; a draft well below {parameters:.0} million parameters")
    };
    Err(HwError::DoesNotFit {
        what: format!("stage {} ({rows} rows of {length} tokens)", stage.name),
        device: profile.name.clone(),
        needed: readable(needed),
        available: readable(available),
        fits,
    })
}

/// The largest number in 0 ..= `most` that `fits`, which holds for all below one that it holds for.
fn largest(most: u64, fits: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = high - (high - low) / 2;
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

pub(super) fn readable(bytes: f64) -> String {
    format!("{:.2} GB", bytes / 1e9)
}
