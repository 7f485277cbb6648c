//! A draft as one small file: what it adds to its target.
//!
//! A draft trained with embedding and head frozen shares both with its target, which is at hand
//! wherever a draft is of use. The file, in safetensors form, holds the rest: matrices as `I8`
//! `[out, in]` with `NAME.scale` `F16` `[out, ⌈in / 32⌉]`, a scale for each 32 weights of a row;
//! norms and biases as `F32`; and `draft_vocabulary`, `U32`, the target ids of the head's rows.
//! Its metadata has one key, [`FORMAT`], with a JSON object: `layers`; `tokenizer`, the fingerprint
//! that the target's tokenizer must have, in hexadecimal; and, where they are not all alike,
//! `full_attention_layers`, those without the target's window.

use std::{borrow::Cow, collections::HashMap, fs, path::Path};

use half::f16;
use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::{Checkpoint, DraftVocabulary},
    config::DecoderConfig,
    draft::init,
    error::ModelError,
    import::{
        layout::{self, Projections},
        limits,
    },
    weights::Weights,
};

/// Key of the metadata.
pub const FORMAT: &str = "fastdraft-blocks-1";

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";
const VOCABULARY: &str = "draft_vocabulary";
const SCALE: &str = ".scale";
/// Weights of a row that share a scale.
const GROUP: usize = 32;

/// One value, as several keys would come in any order.
#[derive(Serialize, Deserialize)]
struct Header {
    layers: usize,
    tokenizer: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    full_attention_layers: Vec<usize>,
}

struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        (&self.data).into()
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}

/// Writes what `draft` adds to `target`; `tokenizer` is the fingerprint of the target's.
///
/// # Errors
/// [`ModelError::InvalidConfig`] when the draft has another shape than blocks of the target, or
/// an embedding or head of its own; the tensor errors when one is missing;
/// [`ModelError::Io`].
pub fn save(
    path: &Path,
    draft: &Checkpoint,
    target: &Checkpoint,
    tokenizer: u64,
) -> Result<(), ModelError> {
    let config = &draft.config;
    let Some(kept) = &draft.draft_vocabulary else {
        return Err(invalid(
            "only a draft with a trimmed head is stored this way".into(),
        ));
    };
    if *config
        != of_target(
            &target.config,
            config.layers,
            &config.full_attention_layers,
            kept,
        )
    {
        return Err(invalid(format!(
            "the draft is not made of blocks of this target: {config:?}"
        )));
    }
    let first = init::from_target(target, &[0], Some(kept.clone()))?;
    for (name, what) in [(EMBEDDING, "embedding"), (HEAD, "head")] {
        let own = draft.weights.iter().find(|(found, _)| *found == name);
        let shared = first.weights.iter().find(|(found, _)| *found == name);
        if own != shared {
            return Err(invalid(format!(
                "the draft's {what} is not the target's; train with both frozen"
            )));
        }
    }
    let mut tensors = Vec::new();
    for (name, shape) in layout::tensors(config, Projections::Separate) {
        if name == EMBEDDING || name == HEAD {
            continue;
        }
        let data = &draft.weights.get(&name, &shape)?.data;
        match shape.as_slice() {
            [_, columns] => {
                let (values, scales) = quantize(data, *columns);
                let groups = vec![shape[0], columns.div_ceil(GROUP)];
                tensors.push((format!("{name}{SCALE}"), stored(Dtype::F16, groups, scales)));
                tensors.push((name, stored(Dtype::I8, shape, values)));
            }
            _ => {
                let bytes = data.iter().flat_map(|value| value.to_le_bytes()).collect();
                tensors.push((name, stored(Dtype::F32, shape, bytes)));
            }
        }
    }
    let ids = kept.token_ids();
    let bytes = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let shape = vec![ids.len()];
    tensors.push((VOCABULARY.to_owned(), stored(Dtype::U32, shape, bytes)));
    let header = Header {
        layers: config.layers,
        tokenizer: format!("{tokenizer:016x}"),
        full_attention_layers: config.full_attention_layers.clone(),
    };
    let header = serde_json::to_string(&header)
        .map_err(|error| ModelError::io(path, std::io::Error::other(error)))?;
    let metadata = HashMap::from([(FORMAT.to_owned(), header)]);
    let bytes = safetensors::serialize(tensors, Some(metadata))
        .map_err(|error| ModelError::io(path, std::io::Error::other(error)))?;
    let staged = path.with_extension("partial");
    fs::write(&staged, bytes)
        .and_then(|()| fs::rename(&staged, path))
        .map_err(|source| ModelError::io(path, source))
}

/// A draft that was read, and the tokenizer it speaks.
#[derive(Debug)]
pub struct Loaded {
    /// The draft, whole again.
    pub draft: Checkpoint,
    /// Fingerprint of the tokenizer of the target it was made for.
    pub tokenizer: u64,
}

/// The draft in a file that [`save`] wrote, with embedding and head of `target`.
///
/// # Errors
/// [`ModelError::Corrupt`] when it is no such file, [`ModelError::MissingTensor`] or
/// [`ModelError::ShapeMismatch`] when it was made for a target of other sizes,
/// [`ModelError::TokenOutOfRange`] for a token the target does not have.
pub fn load(path: &Path, target: &Checkpoint) -> Result<Loaded, ModelError> {
    let bytes = fs::read(path).map_err(|source| ModelError::io(path, source))?;
    let corrupt = |reason: String| ModelError::Corrupt {
        path: path.to_owned(),
        format: "draft blocks",
        reason,
    };
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| corrupt(e.to_string()))?;
    let header = (metadata.metadata().as_ref()).and_then(|entries| entries.get(FORMAT));
    let header = header.ok_or_else(|| corrupt(format!("no `{FORMAT}` in its metadata")))?;
    let header: Header = serde_json::from_str(header).map_err(|e| corrupt(e.to_string()))?;
    let layers = header.layers;
    if layers == 0 || layers > target.config.layers {
        return Err(corrupt(format!(
            "{layers} blocks of a target with {}",
            target.config.layers
        )));
    }
    let tokenizer = u64::from_str_radix(&header.tokenizer, 16)
        .map_err(|error| corrupt(format!("tokenizer `{}`: {error}", header.tokenizer)))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| corrupt(e.to_string()))?;
    let get = |name: &str, dtype: Dtype, shape: Option<&[usize]>| {
        let tensor = tensors
            .tensor(name)
            .map_err(|_| ModelError::MissingTensor {
                name: name.to_owned(),
            })?;
        if tensor.dtype() != dtype {
            let found = tensor.dtype();
            return Err(corrupt(format!("{name} is {found:?}, expected {dtype:?}")));
        }
        match shape {
            Some(shape) if tensor.shape() != shape => Err(ModelError::ShapeMismatch {
                name: name.to_owned(),
                expected: shape.to_vec(),
                found: tensor.shape().to_vec(),
            }),
            _ => Ok(tensor),
        }
    };
    let (ids, _) = get(VOCABULARY, Dtype::U32, None)?.data().as_chunks::<4>();
    let ids = ids.iter().map(|id| u32::from_le_bytes(*id)).collect();
    let kept = DraftVocabulary::new(ids, target.config.vocabulary_size)?;
    let config = of_target(&target.config, layers, &header.full_attention_layers, &kept);
    limits::check(&config)?;

    let mut shared = init::from_target(target, &[0], Some(kept.clone()))?.weights;
    let mut weights = Weights::new();
    for (name, shape) in layout::tensors(&config, Projections::Separate) {
        if name == EMBEDDING || name == HEAD {
            let tensor = (shared.remove(&name))
                .ok_or_else(|| ModelError::MissingTensor { name: name.clone() })?;
            weights.insert(name, tensor.shape, tensor.data);
            continue;
        }
        let data = match shape.as_slice() {
            [rows, columns] => {
                let groups = [*rows, columns.div_ceil(GROUP)];
                let values = get(&name, Dtype::I8, Some(&shape))?;
                let scales = get(&format!("{name}{SCALE}"), Dtype::F16, Some(&groups))?;
                dequantize(values.data(), scales.data(), *columns)
            }
            _ => floats(get(&name, Dtype::F32, Some(&shape))?.data()),
        };
        weights.insert(name, shape, data);
    }
    Ok(Loaded {
        draft: Checkpoint {
            config,
            weights,
            draft_vocabulary: Some(kept),
        },
        tokenizer,
    })
}

fn of_target(
    target: &DecoderConfig,
    layers: usize,
    full: &[usize],
    kept: &DraftVocabulary,
) -> DecoderConfig {
    DecoderConfig {
        layers,
        full_attention_layers: full.to_vec(),
        head_size: kept.token_ids().len(),
        tied: false,
        ..target.clone()
    }
}

fn stored(dtype: Dtype, shape: Vec<usize>, data: Vec<u8>) -> Stored {
    Stored { dtype, shape, data }
}

/// Values and scales of rows of `columns` weights.
fn quantize(data: &[f32], columns: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut values, mut scales) = (Vec::with_capacity(data.len()), Vec::new());
    for group in data.chunks_exact(columns).flat_map(|row| row.chunks(GROUP)) {
        let largest = group
            .iter()
            .fold(0.0_f32, |max, value| max.max(value.abs()));
        let scale = f16::from_f32(largest / 127.0);
        scales.extend(scale.to_le_bytes());
        let inverse = match f32::from(scale) {
            0.0 => 0.0,
            scale => 1.0 / scale,
        };
        let rounded = |value: &f32| (value * inverse).round().clamp(-127.0, 127.0) as i8;
        values.extend(group.iter().map(|value| rounded(value) as u8));
    }
    (values, scales)
}

fn dequantize(values: &[u8], scales: &[u8], columns: usize) -> Vec<f32> {
    let (scales, _) = scales.as_chunks::<2>();
    let groups = values
        .chunks_exact(columns)
        .flat_map(|row| row.chunks(GROUP));
    (groups.zip(scales))
        .flat_map(|(group, scale)| {
            let scale = f32::from(f16::from_le_bytes(*scale));
            group
                .iter()
                .map(move |value| f32::from(*value as i8) * scale)
        })
        .collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<4>();
    (values.iter())
        .map(|value| f32::from_le_bytes(*value))
        .collect()
}

fn invalid(reason: String) -> ModelError {
    ModelError::InvalidConfig { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models() -> (Checkpoint, Checkpoint) {
        let target = init::random(DecoderConfig::llama(60, 64, 3), None, 5).unwrap();
        let kept = DraftVocabulary::new(vec![1, 7, 59], 60).unwrap();
        let draft = init::from_target(&target, &[0, 2], Some(kept)).unwrap();
        (target, draft)
    }

    #[test]
    fn a_draft_comes_back_within_half_a_step() {
        let (target, draft) = models();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("draft.safetensors");
        save(&path, &draft, &target, 0xabc).unwrap();
        let found = load(&path, &target).unwrap();
        assert_eq!(found.tokenizer, 0xabc);
        assert_eq!(found.draft.config, draft.config);
        assert_eq!(found.draft.draft_vocabulary, draft.draft_vocabulary);
        for ((name, a), (_, b)) in draft.weights.iter().zip(found.draft.weights.iter()) {
            assert_eq!(a.shape, b.shape, "{name}");
            let exact = a.shape.len() == 1 || name == EMBEDDING || name == HEAD;
            let columns = *a.shape.last().unwrap();
            let rows = a.data.chunks(columns).zip(b.data.chunks(columns));
            for (a, b) in rows.flat_map(|(a, b)| a.chunks(GROUP).zip(b.chunks(GROUP))) {
                let largest = a.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                // Half a step, and the rounding of the scale to f16.
                let step = if exact {
                    0.0
                } else {
                    largest / 127.0 * 0.5 + largest * 1e-3
                };
                for (a, b) in a.iter().zip(b) {
                    assert!((a - b).abs() <= step, "{name}: {a} {b}");
                }
            }
        }
        let again = folder.path().join("again.safetensors");
        save(&again, &found.draft, &target, 0xabc).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(&again).unwrap());
    }

    #[test]
    fn a_head_of_its_own_or_another_target_is_refused() {
        let (target, mut draft) = models();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("draft.safetensors");
        save(&path, &draft, &target, 1).unwrap();
        let wider = init::random(DecoderConfig::llama(60, 128, 3), None, 5).unwrap();
        assert!(matches!(
            load(&path, &wider),
            Err(ModelError::ShapeMismatch { .. })
        ));
        let fewer = init::random(DecoderConfig::llama(50, 64, 3), None, 5).unwrap();
        assert!(matches!(
            load(&path, &fewer),
            Err(ModelError::TokenOutOfRange { .. })
        ));
        let head = vec![0.0; 3 * 64];
        draft.weights.insert(HEAD, vec![3, 64], head);
        let error = save(&path, &draft, &target, 1).unwrap_err().to_string();
        assert!(error.contains("head"), "{error}");
    }

    #[test]
    fn no_change_of_a_byte_panics() {
        let (target, draft) = models();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("draft.safetensors");
        save(&path, &draft, &target, 1).unwrap();
        let bytes = fs::read(&path).unwrap();
        let header =
            8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
        for at in (0..header).step_by(3) {
            for change in [0x01, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                fs::write(&path, &changed).unwrap();
                let _ = load(&path, &target);
            }
        }
        for len in [0, 4, 8, header, bytes.len() - 1] {
            fs::write(&path, &bytes[..len]).unwrap();
            assert!(load(&path, &target).is_err(), "{len}");
        }
    }
}
