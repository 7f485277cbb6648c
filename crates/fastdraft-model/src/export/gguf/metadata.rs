//! Configuration and tokenizer as metadata.

use super::{GgufFormat, header::string, invalid};
use crate::{
    checkpoint::Checkpoint,
    config::{DecoderConfig, RopeScaling},
    error::ModelError,
    import::gguf::GgufTokenizer,
    rope::yarn_attention_factor,
};

/// A key and its value.
pub(super) type Entry = (String, Value);

/// The kinds of values a model needs.
#[derive(Debug)]
pub(super) enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    String(String),
    Strings(Vec<String>),
    Integers(Vec<i32>),
    Floats(Vec<f32>),
}

/// Token type of rows beyond the tokenizer's tokens.
const UNUSED: i32 = 5;

impl Value {
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let kind = |bytes: &mut Vec<u8>, id: u32| bytes.extend(id.to_le_bytes());
        match self {
            Self::U32(value) => {
                kind(bytes, 4);
                bytes.extend(value.to_le_bytes());
            }
            Self::F32(value) => {
                kind(bytes, 6);
                bytes.extend(value.to_le_bytes());
            }
            Self::Bool(value) => {
                kind(bytes, 7);
                bytes.push(u8::from(*value));
            }
            Self::String(value) => {
                kind(bytes, 8);
                string(bytes, value);
            }
            Self::Strings(values) => {
                kind(bytes, 9);
                kind(bytes, 8);
                bytes.extend((values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| string(bytes, value));
            }
            Self::Floats(values) => {
                kind(bytes, 9);
                kind(bytes, 6);
                bytes.extend((values.len() as u64).to_le_bytes());
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
            Self::Integers(values) => {
                kind(bytes, 9);
                kind(bytes, 5);
                bytes.extend((values.len() as u64).to_le_bytes());
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
    }
}

pub(super) fn of(
    checkpoint: &Checkpoint,
    arch: &str,
    tokenizer: &GgufTokenizer,
    format: GgufFormat,
) -> Result<Vec<Entry>, ModelError> {
    let mut entries = vec![
        entry("general.architecture", Value::String(arch.to_owned())),
        entry("general.type", Value::String("model".to_owned())),
        entry("general.file_type", Value::U32(format.file_type())),
        entry("general.quantization_version", Value::U32(2)),
    ];
    model(&mut entries, &checkpoint.config, arch)?;
    vocabulary(&mut entries, &checkpoint.config, tokenizer)?;
    Ok(entries)
}

fn entry(key: &str, value: Value) -> Entry {
    (key.to_owned(), value)
}

fn model(entries: &mut Vec<Entry>, config: &DecoderConfig, arch: &str) -> Result<(), ModelError> {
    for (key, size) in [
        ("vocab_size", config.vocabulary_size),
        ("context_length", config.context_length),
        ("embedding_length", config.hidden_size),
        ("block_count", config.layers),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        (
            "rope.dimension_count",
            config.rotary_dim.unwrap_or(config.head_dim),
        ),
    ] {
        entries.push((format!("{arch}.{key}"), size_value(key, size)?));
    }
    let mut float = |key: &str, value: f64| {
        entries.push((format!("{arch}.{key}"), Value::F32(value as f32)));
    };
    float("attention.layer_norm_rms_epsilon", config.norm_epsilon);
    float("rope.freq_base", config.rope_theta);
    match &config.rope_scaling {
        // The divisors of `llama3` are a tensor; `dynamic` is refused before.
        RopeScaling::None | RopeScaling::Llama3 { .. } | RopeScaling::Dynamic { .. } => {}
        RopeScaling::Yarn {
            factor,
            original_context,
            attention_factor,
            ..
        } => {
            float("rope.scaling.factor", *factor);
            // The reader multiplies by the factor that YaRN takes by default.
            let default = yarn_attention_factor(*factor, 1.0);
            float("rope.scaling.attn_factor", attention_factor / default);
            let key = "rope.scaling.original_context_length";
            entries.push((format!("{arch}.{key}"), size_value(key, *original_context)?));
            let kind = Value::String("yarn".to_owned());
            entries.push((format!("{arch}.rope.scaling.type"), kind));
        }
        RopeScaling::Linear { factor } => {
            float("rope.scaling.factor", *factor);
            let kind = Value::String("linear".to_owned());
            entries.push((format!("{arch}.rope.scaling.type"), kind));
        }
        RopeScaling::LongRope {
            original_context, ..
        } => {
            let attention = config.rotary(0).attention_factor;
            float("rope.scaling.attn_factor", f64::from(attention));
            let key = "rope.scaling.original_context_length";
            entries.push((format!("{arch}.{key}"), size_value(key, *original_context)?));
            // Without it, an architecture that seldom has them does not look for the divisors.
            let kind = Value::String("longrope".to_owned());
            entries.push((format!("{arch}.rope.scaling.type"), kind));
        }
    }
    Ok(())
}

fn size_value(key: &str, size: usize) -> Result<Value, ModelError> {
    u32::try_from(size)
        .map(Value::U32)
        .map_err(|_| invalid(format!("{key} of {size} is beyond 32 bits")))
}

fn vocabulary(
    entries: &mut Vec<Entry>,
    config: &DecoderConfig,
    tokenizer: &GgufTokenizer,
) -> Result<(), ModelError> {
    let (size, count) = (config.vocabulary_size, tokenizer.tokens.len());
    let sentence_piece = tokenizer.model == "llama";
    if sentence_piece && tokenizer.scores.len() != count {
        return Err(invalid(format!(
            "{} scores for {count} SentencePiece tokens",
            tokenizer.scores.len()
        )));
    }
    if !sentence_piece && tokenizer.merges.is_empty() {
        return Err(invalid(
            "a tokenizer with neither merges nor scores is no kind that is written".into(),
        ));
    }
    if count > size || tokenizer.token_types.len() != count {
        return Err(invalid(format!(
            "{count} tokens with {} types for a vocabulary of {size}",
            tokenizer.token_types.len()
        )));
    }
    let mut tokens = tokenizer.tokens.clone();
    tokens.extend((count..size).map(|id| format!("[PAD{id}]")));
    let mut types: Vec<i32> = tokenizer.token_types.iter().map(|&t| t as i32).collect();
    types.resize(size, UNUSED);
    let mut put = |key: &str, value: Value| {
        entries.push((format!("tokenizer.ggml.{key}"), value));
    };
    let model = if sentence_piece { "llama" } else { "gpt2" };
    put("model", Value::String(model.to_owned()));
    put("pre", Value::String(tokenizer.pre.clone()));
    put("tokens", Value::Strings(tokens));
    put("token_type", Value::Integers(types));
    if sentence_piece {
        let mut scores = tokenizer.scores.clone();
        scores.resize(size, 0.0);
        put("scores", Value::Floats(scores));
        put("add_space_prefix", Value::Bool(tokenizer.add_space_prefix));
    } else {
        put("merges", Value::Strings(tokenizer.merges.clone()));
    }
    put("add_bos_token", Value::Bool(tokenizer.add_bos));
    let other_end = (config.eos_ids.iter().copied()).find(|&id| Some(id) != tokenizer.eos_id);
    for (key, id) in [
        ("bos_token_id", tokenizer.bos_id),
        ("eos_token_id", tokenizer.eos_id),
        ("eot_token_id", other_end),
        ("unknown_token_id", tokenizer.unknown_id),
    ] {
        match id {
            Some(id) if id as usize >= size => {
                return Err(ModelError::TokenOutOfRange {
                    id,
                    vocabulary_size: size,
                });
            }
            Some(id) => put(key, Value::U32(id)),
            None => {}
        }
    }
    if let Some(template) = &tokenizer.chat_template {
        entries.push(entry(
            "tokenizer.chat_template",
            Value::String(template.clone()),
        ));
    }
    Ok(())
}
