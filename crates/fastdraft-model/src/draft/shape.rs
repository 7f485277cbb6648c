//! Depths and widths that spend a parameter budget.

use crate::{config::DecoderConfig, error::ModelError};

/// Width of the heads of every candidate.
const HEAD_DIM: usize = 64;
/// Wider than any draft, and low enough that no product overflows.
const MAX_HEADS: usize = 1 << 10;

/// What a candidate's sizes follow from, besides its depth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShapeRule {
    /// Rows of the head: the vocabulary, or what is kept of it.
    pub head_size: usize,
    /// Fewest and most blocks.
    pub layers: (usize, usize),
    /// Width of the MLP over the width of the stream; rounded up to whole 32s.
    pub mlp_ratio: f64,
    /// Count the embedding, of which a pass reads one row, against the budget.
    pub count_embedding: bool,
}

impl ShapeRule {
    /// Up to 12 blocks, an MLP of 8/3 the width, the embedding not counted.
    #[must_use]
    pub fn new(head_size: usize) -> Self {
        Self {
            head_size,
            layers: (1, 12),
            mlp_ratio: 8.0 / 3.0,
            count_embedding: false,
        }
    }
}

/// What decides how long a pass over few tokens takes: it streams its weights once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// Bytes read from memory per second.
    pub bandwidth: f64,
    /// Bytes of a weight as it is streamed.
    pub weight_bytes: f64,
    /// Seconds of a block that do not depend on its width: synchronisation, small operations.
    pub block_overhead: f64,
}

/// A draft that spends the budget.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its shape: untied, Llama-like, heads of 64.
    pub config: DecoderConfig,
    /// Parameters that one pass reads.
    pub pass_parameters: usize,
    /// All parameters.
    pub parameters: usize,
    /// Estimated seconds of a pass over one token.
    pub latency: f64,
}

/// For each depth, the widest draft whose parameters stay within `budget`; fastest first.
///
/// A depth that even one head does not fit is left out.
///
/// ```
/// use fastdraft_model::draft::shape::{Machine, ShapeRule, candidates};
/// let machine = Machine { bandwidth: 20e9, weight_bytes: 2.0, block_overhead: 30e-6 };
/// let list = candidates(8_000_000, 49_152, &ShapeRule::new(8192), &machine)?;
/// assert!(list.iter().all(|c| c.pass_parameters <= 8_000_000));
/// # Ok::<(), fastdraft_model::ModelError>(())
/// ```
///
/// # Errors
/// [`ModelError::InvalidConfig`] for a head without rows or larger than the vocabulary, an empty
/// range of depths, a ratio or machine figure that is not above 0, or a budget that no depth fits.
pub fn candidates(
    budget: usize,
    vocabulary_size: usize,
    rule: &ShapeRule,
    machine: &Machine,
) -> Result<Vec<Candidate>, ModelError> {
    check(vocabulary_size, rule, machine)?;
    let mut list: Vec<Candidate> = (rule.layers.0..=rule.layers.1)
        .filter_map(|layers| widest(budget, vocabulary_size, layers, rule, machine))
        .collect();
    if list.is_empty() {
        return Err(invalid(format!(
            "{budget} parameters are too few for a head of {} rows and width {HEAD_DIM}",
            rule.head_size
        )));
    }
    list.sort_by(|a, b| a.latency.total_cmp(&b.latency));
    Ok(list)
}

/// The candidate of `layers` blocks with as many heads as the budget allows.
fn widest(
    budget: usize,
    vocabulary_size: usize,
    layers: usize,
    rule: &ShapeRule,
    machine: &Machine,
) -> Option<Candidate> {
    let at = |heads: usize| candidate(vocabulary_size, heads, layers, rule, machine);
    let fits = |candidate: &Candidate| {
        let counted = if rule.count_embedding {
            candidate.parameters
        } else {
            candidate.pass_parameters
        };
        counted <= budget
    };
    (1..=MAX_HEADS).map(at).take_while(fits).last()
}

fn candidate(
    vocabulary_size: usize,
    heads: usize,
    layers: usize,
    rule: &ShapeRule,
    machine: &Machine,
) -> Candidate {
    let hidden = heads * HEAD_DIM;
    let width = (hidden as f64 * rule.mlp_ratio).ceil() as usize;
    let config = DecoderConfig {
        head_size: rule.head_size,
        intermediate_size: width.next_multiple_of(32),
        ..DecoderConfig::llama(vocabulary_size, hidden, layers)
    };
    let pass_parameters = config.pass_parameters();
    Candidate {
        pass_parameters,
        parameters: pass_parameters + vocabulary_size * hidden,
        latency: pass_parameters as f64 * machine.weight_bytes / machine.bandwidth
            + layers as f64 * machine.block_overhead,
        config,
    }
}

fn check(vocabulary_size: usize, rule: &ShapeRule, machine: &Machine) -> Result<(), ModelError> {
    if rule.head_size == 0 || rule.head_size > vocabulary_size {
        return Err(invalid(format!(
            "a head of {} rows for {vocabulary_size} tokens",
            rule.head_size
        )));
    }
    if rule.layers.0 == 0 || rule.layers.0 > rule.layers.1 {
        return Err(invalid(format!("{:?} blocks", rule.layers)));
    }
    for (name, value) in [
        ("MLP ratio", rule.mlp_ratio),
        ("bandwidth", machine.bandwidth),
        ("bytes of a weight", machine.weight_bytes),
    ] {
        if !(value.is_finite() && value > 0.0) {
            return Err(invalid(format!("{name} of {value}")));
        }
    }
    if !(machine.block_overhead.is_finite() && machine.block_overhead >= 0.0) {
        let value = machine.block_overhead;
        return Err(invalid(format!("block overhead of {value} seconds")));
    }
    Ok(())
}

fn invalid(reason: String) -> ModelError {
    ModelError::InvalidConfig { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine {
        bandwidth: 20e9,
        weight_bytes: 2.0,
        block_overhead: 50e-6,
    };

    #[test]
    fn every_candidate_spends_the_budget_and_no_more() {
        let rule = ShapeRule::new(8192);
        let list = candidates(8_000_000, 49_152, &rule, &MACHINE).unwrap();
        assert_eq!(list.len(), 12);
        for c in &list {
            assert!(c.pass_parameters <= 8_000_000);
            let heads = c.config.heads + 1;
            let wider = candidate(49_152, heads, c.config.layers, &rule, &MACHINE);
            assert!(wider.pass_parameters > 8_000_000, "{c:?}");
            assert_eq!(c.config.head_dim * c.config.heads, c.config.hidden_size);
            let stored = c.pass_parameters + 49_152 * c.config.hidden_size;
            assert_eq!(c.parameters, stored);
        }
        assert!(list.windows(2).all(|w| w[0].latency <= w[1].latency));
    }

    #[test]
    fn latency_is_the_stream_and_the_blocks() {
        let c = candidate(100, 1, 3, &ShapeRule::new(100), &MACHINE);
        // Per block 4 · 64² + 3 · 64 · 192 + 2 · 64, then the norm and the head.
        let parameters = 3 * (4 * 64 * 64 + 3 * 64 * 192 + 128) + 64 + 6400;
        assert_eq!(c.pass_parameters, parameters);
        let seconds = parameters as f64 * 1e-10 + 150e-6;
        assert!((c.latency - seconds).abs() < 1e-12);
    }

    #[test]
    fn a_counted_embedding_narrows_the_draft() {
        let rule = ShapeRule::new(8192);
        let counted = ShapeRule {
            count_embedding: true,
            ..rule
        };
        let width = |rule: &ShapeRule| {
            let list = candidates(8_000_000, 49_152, rule, &MACHINE).unwrap();
            list.iter().map(|c| c.config.hidden_size).max()
        };
        assert!(width(&counted) < width(&rule));
    }

    #[test]
    fn impossible_requests_are_errors() {
        let rule = ShapeRule::new(100);
        assert!(candidates(1000, 100, &rule, &MACHINE).is_err());
        assert!(candidates(10_000_000, 99, &rule, &MACHINE).is_err());
        let empty = ShapeRule {
            layers: (3, 2),
            ..rule
        };
        assert!(candidates(10_000_000, 100, &empty, &MACHINE).is_err());
        let slow = Machine {
            bandwidth: 0.0,
            ..MACHINE
        };
        assert!(candidates(10_000_000, 100, &rule, &slow).is_err());
    }
}
