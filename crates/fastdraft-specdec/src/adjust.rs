//! Changes to single logits: penalties, biases, allowed tokens.

use alloc::vec::Vec;

use crate::{TokenId, Transform};

/// Whether `transform` changes any logit before temperature.
pub(crate) fn is_needed(transform: &Transform) -> bool {
    penalises(transform) || !transform.logit_bias.is_empty() || transform.allowed.is_some()
}

fn penalises(transform: &Transform) -> bool {
    transform.repetition_penalty != 1.0
        || transform.presence_penalty != 0.0
        || transform.frequency_penalty != 0.0
}

/// Applies the penalties, biases and mask of `transform` to `row`, rounding to single precision.
///
/// `ids` ascend and name the tokens of `row`; `None` for 0, 1, 2, … `tokens` is work space.
pub(crate) fn adjust(
    transform: &Transform,
    history: &[TokenId],
    row: &mut [f32],
    ids: Option<&[TokenId]>,
    tokens: &mut Vec<TokenId>,
) {
    if penalises(transform) {
        tokens.clear();
        tokens.extend_from_slice(history);
        tokens.sort_unstable();
        for run in tokens.chunk_by(|a, b| a == b) {
            if let Some(logit) = run.first().and_then(|&token| find(row, ids, token)) {
                *logit = penalised(transform, f64::from(*logit), run.len()) as f32;
            }
        }
    }
    for &(token, bias) in &transform.logit_bias {
        if let Some(logit) = find(row, ids, token) {
            *logit += bias;
        }
    }
    if let Some(allowed) = &transform.allowed {
        tokens.clear();
        tokens.extend_from_slice(allowed);
        tokens.sort_unstable();
        let mut permitted = tokens.iter().copied().peekable();
        let mut visit = |token: TokenId, logit: &mut f32| {
            while permitted.next_if(|&t| t < token).is_some() {}
            if permitted.peek() != Some(&token) {
                *logit = f32::NEG_INFINITY;
            }
        };
        match ids {
            None => (0..)
                .zip(row)
                .for_each(|(token, logit)| visit(token, logit)),
            Some(ids) => ids
                .iter()
                .zip(row)
                .for_each(|(&token, logit)| visit(token, logit)),
        }
    }
}

fn penalised(transform: &Transform, logit: f64, times: usize) -> f64 {
    let scaled = if logit > 0.0 {
        logit / transform.repetition_penalty
    } else {
        logit * transform.repetition_penalty
    };
    scaled - (transform.presence_penalty + transform.frequency_penalty * times as f64)
}

fn find<'a>(row: &'a mut [f32], ids: Option<&[TokenId]>, token: TokenId) -> Option<&'a mut f32> {
    let index = match ids {
        None => token as usize,
        Some(ids) => ids.binary_search(&token).ok()?,
    };
    row.get_mut(index)
}
