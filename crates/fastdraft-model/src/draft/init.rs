//! First weights of a draft: random, or taken from the target.

use crate::{
    checkpoint::{Checkpoint, DraftVocabulary},
    config::{DecoderConfig, Family},
    error::ModelError,
    weights::Weights,
};

/// A draft made of some of the target's blocks, its embedding, its last norm and the rows of its
/// head that `vocabulary` keeps.
///
/// The head is stored apart from the embedding, so that it can be trimmed and trained alone.
///
/// # Errors
/// [`ModelError::InvalidConfig`] for a block the target does not have or no block at all;
/// [`ModelError::MissingTensor`] or [`ModelError::ShapeMismatch`] for a broken target.
pub fn from_target(
    target: &Checkpoint,
    blocks: &[usize],
    vocabulary: Option<DraftVocabulary>,
) -> Result<Checkpoint, ModelError> {
    let config = &target.config;
    if blocks.is_empty() || blocks.iter().any(|b| *b >= config.layers) {
        return Err(ModelError::InvalidConfig {
            reason: format!(
                "blocks {blocks:?} of a target with {} blocks",
                config.layers
            ),
        });
    }
    let mut weights = Weights::new();
    for (name, tensor) in target.weights.iter() {
        if let Some((index, part)) = block_of(name) {
            for (to, _) in blocks
                .iter()
                .enumerate()
                .filter(|(_, from)| **from == index)
            {
                weights.insert(
                    format!("model.layers.{to}.{part}"),
                    tensor.shape.clone(),
                    tensor.data.clone(),
                );
            }
        } else if name != "lm_head.weight" {
            weights.insert(name, tensor.shape.clone(), tensor.data.clone());
        }
    }
    let hidden = config.hidden_size;
    let head = if config.tied {
        target.weights.get(
            "model.embed_tokens.weight",
            &[config.vocabulary_size, hidden],
        )?
    } else {
        target
            .weights
            .get("lm_head.weight", &[config.head_size, hidden])?
    };
    let (rows, data) = match &vocabulary {
        None => (config.vocabulary_size, head.data.clone()),
        Some(kept) => {
            let mut data = Vec::with_capacity(kept.token_ids().len() * hidden);
            for &id in kept.token_ids() {
                let start = id as usize * hidden;
                let row =
                    head.data
                        .get(start..start + hidden)
                        .ok_or(ModelError::TokenOutOfRange {
                            id,
                            vocabulary_size: config.vocabulary_size,
                        })?;
                data.extend_from_slice(row);
            }
            (kept.token_ids().len(), data)
        }
    };
    weights.insert("lm_head.weight", vec![rows, hidden], data);
    let config = DecoderConfig {
        head_size: rows,
        tied: false,
        ..config.of_blocks(blocks)
    };
    Ok(Checkpoint {
        config,
        weights,
        draft_vocabulary: vocabulary,
    })
}

/// `model.layers.7.mlp.up_proj.weight` is block 7, part `mlp.up_proj.weight`.
fn block_of(name: &str) -> Option<(usize, &str)> {
    let (index, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    Some((index.parse().ok()?, part))
}

/// A Llama-style draft with normally distributed weights (σ = 0.02, output projections divided
/// by √(2 · layers) as in GPT-2) and norms of one. Equal seeds give equal weights.
///
/// # Errors
/// [`ModelError::InvalidConfig`] when the configuration is not a plain untied Llama, or its head
/// does not fit `vocabulary`.
pub fn random(
    mut config: DecoderConfig,
    vocabulary: Option<DraftVocabulary>,
    seed: u64,
) -> Result<Checkpoint, ModelError> {
    if config.family != Family::Llama
        || config.tied
        || config.qk_norm
        || config.qkv_bias
        || config.output_bias
        || config.mlp_bias
    {
        return Err(ModelError::InvalidConfig {
            reason: "a random draft is an untied Llama without biases".into(),
        });
    }
    config.head_size = vocabulary
        .as_ref()
        .map_or(config.vocabulary_size, |kept| kept.token_ids().len());
    let c = &config;
    let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    let narrow = 0.02 / ((2 * c.layers) as f32).sqrt();
    let mut normal = Normal::new(seed);
    let mut weights = Weights::new();
    let mut put = |name: String, rows: usize, columns: usize, scale: f32| {
        let data = (0..rows * columns).map(|_| normal.next() * scale).collect();
        weights.insert(name, vec![rows, columns], data);
    };
    put(
        "model.embed_tokens.weight".into(),
        c.vocabulary_size,
        c.hidden_size,
        0.02,
    );
    put("lm_head.weight".into(), c.head_size, c.hidden_size, 0.02);
    for index in 0..c.layers {
        for (part, rows, columns, scale) in [
            ("self_attn.q_proj", q, c.hidden_size, 0.02),
            ("self_attn.k_proj", kv, c.hidden_size, 0.02),
            ("self_attn.v_proj", kv, c.hidden_size, 0.02),
            ("self_attn.o_proj", c.hidden_size, q, narrow),
            ("mlp.gate_proj", c.intermediate_size, c.hidden_size, 0.02),
            ("mlp.up_proj", c.intermediate_size, c.hidden_size, 0.02),
            ("mlp.down_proj", c.hidden_size, c.intermediate_size, narrow),
        ] {
            put(
                format!("model.layers.{index}.{part}.weight"),
                rows,
                columns,
                scale,
            );
        }
    }
    let ones = vec![1.0; c.hidden_size];
    for index in 0..c.layers {
        for part in ["input_layernorm", "post_attention_layernorm"] {
            let name = format!("model.layers.{index}.{part}.weight");
            weights.insert(name, vec![c.hidden_size], ones.clone());
        }
    }
    weights.insert("model.norm.weight", vec![c.hidden_size], ones);
    Ok(Checkpoint {
        config,
        weights,
        draft_vocabulary: vocabulary,
    })
}

/// Standard normal values by Box and Muller over SplitMix64.
struct Normal {
    state: u64,
    spare: Option<f32>,
}

impl Normal {
    fn new(seed: u64) -> Self {
        Self {
            state: seed,
            spare: None,
        }
    }

    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn next(&mut self) -> f32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sin, cos) = (2.0 * std::f64::consts::PI * self.uniform()).sin_cos();
        self.spare = Some((radius * sin) as f32);
        (radius * cos) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Checkpoint {
        random(DecoderConfig::llama(50, 64, 3), None, 7).unwrap()
    }

    #[test]
    fn random_weights_are_normal_and_seeded() {
        let a = target();
        assert_eq!(a, target());
        let data = &a
            .weights
            .get("model.layers.1.mlp.up_proj.weight", &[192, 64])
            .unwrap()
            .data;
        let n = data.len() as f32;
        let mean = data.iter().sum::<f32>() / n;
        let variance = data.iter().map(|v| v * v).sum::<f32>() / n;
        assert!(mean.abs() < 1e-3, "{mean}");
        assert!((variance.sqrt() - 0.02).abs() < 1e-3, "{variance}");
        assert_ne!(a, random(DecoderConfig::llama(50, 64, 3), None, 8).unwrap());
    }

    #[test]
    fn blocks_and_head_rows_come_from_the_target() {
        let target = target();
        let kept = DraftVocabulary::new(vec![3, 10, 49], 50).unwrap();
        let draft = from_target(&target, &[0, 2], Some(kept)).unwrap();
        assert_eq!((draft.config.layers, draft.config.head_size), (2, 3));
        let name = |i: usize| format!("model.layers.{i}.self_attn.k_proj.weight");
        let shape = [64, 64];
        assert_eq!(
            draft.weights.get(&name(1), &shape).unwrap(),
            target.weights.get(&name(2), &shape).unwrap()
        );
        let head = draft.weights.get("lm_head.weight", &[3, 64]).unwrap();
        let full = target.weights.get("lm_head.weight", &[50, 64]).unwrap();
        assert_eq!(head.data[64..128], full.data[640..704]);
    }

    #[test]
    fn a_block_the_target_lacks_is_an_error() {
        let error = from_target(&target(), &[0, 3], None).unwrap_err();
        assert!(error.to_string().contains("[0, 3]"), "{error}");
    }
}
