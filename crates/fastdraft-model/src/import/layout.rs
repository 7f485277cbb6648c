//! Names and shapes of the tensors a configuration asks for.

use std::collections::BTreeSet;

use crate::{checkpoint::Checkpoint, config::DecoderConfig, error::ModelError};

/// Whether projections that read the same input are stored as one matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Projections {
    Separate,
    Fused,
}

/// Prefix of the names in block `layer`.
pub(crate) fn block(layer: usize) -> String {
    format!("model.layers.{layer}.")
}

/// Every tensor, with its shape; made one block at a time, so that a configuration of many blocks
/// costs nothing until they are found.
pub(crate) fn tensors(
    config: &DecoderConfig,
    projections: Projections,
) -> impl Iterator<Item = (String, Vec<usize>)> + use<'_> {
    let hidden = config.hidden_size;
    let embedding = (
        "model.embed_tokens.weight".to_owned(),
        vec![config.vocabulary_size, hidden],
    );
    let norm = ("model.norm.weight".to_owned(), vec![hidden]);
    let head = ("lm_head.weight".to_owned(), vec![config.head_size, hidden]);
    let blocks = (0..config.layers).flat_map(move |layer| {
        let mut list = Vec::new();
        push_block(&mut list, config, projections, &block(layer));
        list
    });
    std::iter::once(embedding)
        .chain(blocks)
        .chain([norm])
        .chain((!config.tied).then_some(head))
}

fn push_block(
    list: &mut Vec<(String, Vec<usize>)>,
    config: &DecoderConfig,
    projections: Projections,
    prefix: &str,
) {
    let (hidden, width) = (config.hidden_size, config.intermediate_size);
    let q = config.heads * config.head_dim;
    let kv = config.kv_heads * config.head_dim;
    let (qkv_bias, mlp_bias) = (config.qkv_bias, config.mlp_bias);
    let mut linear = |name: &str, out: usize, input: usize, bias: bool| {
        list.push((format!("{prefix}{name}.weight"), vec![out, input]));
        if bias {
            list.push((format!("{prefix}{name}.bias"), vec![out]));
        }
    };
    match projections {
        Projections::Separate => {
            linear("self_attn.q_proj", q, hidden, qkv_bias);
            linear("self_attn.k_proj", kv, hidden, qkv_bias);
            linear("self_attn.v_proj", kv, hidden, qkv_bias);
            linear("mlp.gate_proj", width, hidden, mlp_bias);
            linear("mlp.up_proj", width, hidden, mlp_bias);
        }
        Projections::Fused => {
            linear("self_attn.qkv_proj", q + 2 * kv, hidden, qkv_bias);
            linear("mlp.gate_up_proj", 2 * width, hidden, mlp_bias);
        }
    }
    linear("self_attn.o_proj", hidden, q, config.output_bias);
    linear("mlp.down_proj", hidden, width, mlp_bias);
    let mut norm = |name: &str, width: usize| {
        list.push((format!("{prefix}{name}.weight"), vec![width]));
    };
    norm("input_layernorm", hidden);
    norm("post_attention_layernorm", hidden);
    if config.qk_norm {
        norm("self_attn.q_norm", config.head_dim);
        norm("self_attn.k_norm", config.head_dim);
    }
}

/// Checks that a checkpoint has exactly the tensors its configuration asks for, and the maps of
/// its head.
pub(crate) fn check(checkpoint: &Checkpoint) -> Result<(), ModelError> {
    let config = &checkpoint.config;
    super::limits::check(config)?;
    let rows = checkpoint
        .draft_vocabulary
        .as_ref()
        .map(|draft| draft.token_ids().len());
    if rows.unwrap_or(config.vocabulary_size) != config.head_size {
        return Err(super::limits::invalid(format!(
            "a head of {} rows with a draft vocabulary of {rows:?} tokens",
            config.head_size
        )));
    }
    if let Some(&id) = checkpoint
        .draft_vocabulary
        .as_ref()
        .and_then(|d| d.token_ids().last())
        && id as usize >= config.vocabulary_size
    {
        return Err(ModelError::TokenOutOfRange {
            id,
            vocabulary_size: config.vocabulary_size,
        });
    }
    let mut names = BTreeSet::new();
    for (name, shape) in tensors(config, Projections::Separate) {
        checkpoint.weights.get(&name, &shape)?;
        names.insert(name);
    }
    match checkpoint
        .weights
        .iter()
        .find(|(name, _)| !names.contains(*name))
    {
        Some((name, _)) => Err(ModelError::UnexpectedTensor {
            name: name.to_owned(),
        }),
        None => Ok(()),
    }
}
