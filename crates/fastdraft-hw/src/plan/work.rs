//! Arithmetic and memory traffic of a training step, operation by operation.

use crate::shape::DecoderShape;

/// One operation, or many of the same kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Work {
    pub flops: f64,
    pub bytes: f64,
}

impl Work {
    /// The longer of arithmetic and traffic.
    pub fn seconds(self, matmul: f64, bandwidth: f64) -> f64 {
        (self.flops / matmul).max(self.bytes / bandwidth)
    }
}

/// Operations of one token in training, forward and backward: 6·N + 12·L·H·Q·T (Chowdhery et al.,
/// arXiv 2204.02311, appendix B), with N the parameters of blocks and head, L blocks, H heads of
/// width Q and T tokens of context.
#[must_use]
pub fn flops_per_token(shape: &DecoderShape, sequence_length: u64) -> f64 {
    6.0 * shape.pass_parameters() as f64
        + 12.0 * (shape.layers * shape.query_width()) as f64 * sequence_length as f64
}

/// Everything but the optimizer, for `rows` rows on one device; `number` is the bytes of a number.
pub(super) fn step(
    shape: &DecoderShape,
    rows: u64,
    sequence_length: u64,
    number: f64,
) -> Vec<Work> {
    let tokens = (rows * sequence_length) as f64;
    let [hidden, mlp, query, kv, head, layers] = [
        shape.hidden_size,
        shape.intermediate_size,
        shape.query_width(),
        shape.kv_width(),
        shape.head_size,
        shape.layers,
    ]
    .map(|size| size as f64);
    // Forward, gradient of the input, gradient of the weight: the same three matrices each time.
    let product = |times: f64, inner: f64, columns: f64| Work {
        flops: times * 3.0 * 2.0 * tokens * inner * columns,
        bytes: times * 3.0 * number * (tokens * inner + inner * columns + tokens * columns),
    };
    let traffic = |numbers: f64| Work {
        flops: 0.0,
        bytes: number * tokens * numbers,
    };
    vec![
        product(layers, hidden, query),
        product(2.0 * layers, hidden, kv),
        product(layers, query, hidden),
        product(2.0 * layers, hidden, mlp),
        product(layers, mlp, hidden),
        product(1.0, hidden, head),
        // Reads q, k, v and writes the output; backward reads and writes twice as much.
        Work {
            flops: 12.0 * layers * query * sequence_length as f64 * tokens,
            bytes: number * tokens * layers * 6.0 * (query + kv),
        },
        // Two norms (5 each) and two sums (5 each) on the stream, the gate (8), rotation (4).
        traffic(layers * (20.0 * hidden + 8.0 * mlp + 4.0 * (query + kv))),
        // Embedding rows: read, written, gradient added.
        traffic(4.0 * hidden),
        // Loss over the logits in f32: read twice, gradient written.
        Work {
            flops: 0.0,
            bytes: 3.0 * 4.0 * tokens * head,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_add_up_to_the_formula() {
        let shape = DecoderShape {
            kv_heads: 2,
            ..DecoderShape::new(1000, 64, 3, 160, 4)
        };
        let (rows, length) = (3, 50);
        let flops: f64 = step(&shape, rows, length, 2.0)
            .iter()
            .map(|work| work.flops)
            .sum();
        let norms = 6 * (shape.layers * 2 + 1) * shape.hidden_size;
        let expected = flops_per_token(&shape, length) - norms as f64;
        assert!((flops / (150.0 * expected) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_token_of_the_papers_draft() {
        // 6·(6·(4·512² + 3·512·1408) + 512·32064) and 12·6·512·2048; norms are a rounding error.
        let shape = DecoderShape::new(32_064, 512, 6, 1408, 8);
        let expected = 6.0 * (6.0 * 3_211_264.0 + 16_416_768.0) + 75_497_472.0;
        assert!((flops_per_token(&shape, 2048) / expected - 1.0).abs() < 1e-3);
    }

    #[test]
    fn time_is_the_longer_of_both() {
        let work = Work {
            flops: 10.0,
            bytes: 4.0,
        };
        assert_eq!(work.seconds(5.0, 4.0), 2.0);
        assert_eq!(work.seconds(5.0, 1.0), 4.0);
    }
}
