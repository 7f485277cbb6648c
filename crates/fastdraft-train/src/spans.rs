//! Spans for `tracing`: what took how long, for whoever subscribes.

use tracing::span::EnteredSpan;

/// A stage, from its first step here to its last.
pub(crate) fn stage(name: &str) -> EnteredSpan {
    tracing::info_span!("stage", name).entered()
}

/// A step, counted from 0, with what its observer does.
pub(crate) fn step(step: usize) -> EnteredSpan {
    tracing::debug_span!("step", step).entered()
}

/// A checkpoint that is written.
pub(crate) fn checkpoint(stage: &str, step: usize) -> EnteredSpan {
    tracing::info_span!("checkpoint", stage, step).entered()
}

/// A draft that is measured.
pub(crate) fn evaluation(prompts: usize) -> EnteredSpan {
    tracing::info_span!("evaluation", prompts).entered()
}
