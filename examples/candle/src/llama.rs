//! candle's `llama2_c` model as a [`Target`]: it returns the logits of every position it reads.

use std::collections::HashMap;
use std::fs::File;

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{DType, Device, Error, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama2_c::{Cache, Config, Llama};
use fastdraft_specdec::{LogitRows, Target, TokenId, Vocabulary};

const POSITIONS: usize = 2048;

pub struct CandleLlama {
    model: Llama,
    cache: Cache,
    cached: usize,
    vocabulary: Vocabulary,
    device: Device,
}

impl CandleLlama {
    /// Loads the GGUF at `path`, its weights as float32.
    pub fn load(path: &str) -> Result<Self> {
        let device = Device::Cpu;
        let mut file = File::open(path)?;
        let content = Content::read(&mut file)?;
        let mut tensors = HashMap::new();
        for name in content.tensor_infos.keys() {
            if let Some(known) = translate(name) {
                let tensor = content.tensor(&mut file, name, &device)?;
                tensors.insert(known, tensor.dequantize(&device)?);
            }
        }
        let embedding = tensors
            .get("model.embed_tokens.weight")
            .ok_or_else(|| Error::Msg("the file has no token_embd.weight".into()))?
            .clone();
        let config = config(&content, embedding.dim(0)?)?;
        tensors.entry("lm_head.weight".into()).or_insert(embedding);
        let base = content.metadata.get("llama.rope.freq_base");
        let base = base.map_or(Ok(10_000.0), Value::to_f32)?;
        let (cos, sin) = rope(config.dim / config.n_heads, base, &device)?;
        tensors.insert("freq_cis_real".into(), cos);
        tensors.insert("freq_cis_imag".into(), sin);
        let weights = VarBuilder::from_tensors(tensors, DType::F32, &device);
        Ok(Self {
            vocabulary: Vocabulary::new(config.vocab_size, 0),
            cache: Cache::new(true, &config, weights.clone())?,
            model: Llama::load(weights, config)?,
            cached: 0,
            device,
        })
    }
}

impl Target for CandleLlama {
    type Error = Error;

    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn score(
        &mut self,
        context: &[TokenId],
        proposal: &[TokenId],
        out: &mut LogitRows,
    ) -> Result<()> {
        let read = [&context[self.cached..], proposal].concat();
        let input = Tensor::new(read.as_slice(), &self.device)?.unsqueeze(0)?;
        let logits = self.model.forward(&input, self.cached, &mut self.cache)?;
        self.cached = context.len() + proposal.len();
        let wanted = proposal.len() + 1;
        let rows = logits.squeeze(0)?.narrow(0, read.len() - wanted, wanted)?;
        let rows = rows.contiguous()?.flatten_all()?.to_vec1::<f32>()?;
        out.reset(wanted, self.vocabulary.size)
            .copy_from_slice(&rows);
        Ok(())
    }

    fn truncate(&mut self, len: usize) -> Result<()> {
        if len >= self.cached {
            return Ok(());
        }
        for entry in &mut self.cache.kvs {
            *entry = match entry.take() {
                Some((k, v)) if len > 0 => Some((k.narrow(1, 0, len)?, v.narrow(1, 0, len)?)),
                _ => None,
            };
        }
        self.cached = len;
        Ok(())
    }
}

fn config(content: &Content, vocab_size: usize) -> Result<Config> {
    let value = |name: &str| {
        let key = format!("llama.{name}");
        let found = content.metadata.get(&key);
        found.ok_or_else(|| Error::Msg(format!("the file has no {key}")))
    };
    let number = |name: &str| Ok::<_, Error>(value(name)?.to_u32()? as usize);
    Ok(Config {
        dim: number("embedding_length")?,
        hidden_dim: number("feed_forward_length")?,
        n_layers: number("block_count")?,
        n_heads: number("attention.head_count")?,
        n_kv_heads: number("attention.head_count_kv")?,
        vocab_size,
        seq_len: POSITIONS,
        norm_eps: f64::from(value("attention.layer_norm_rms_epsilon")?.to_f32()?),
    })
}

/// Cosines and sines of the rotary embedding, shape `[POSITIONS, head / 2]`.
fn rope(head: usize, base: f32, device: &Device) -> Result<(Tensor, Tensor)> {
    let speeds = (0..head)
        .step_by(2)
        .map(|i| 1.0 / base.powf(i as f32 / head as f32));
    let speeds = Tensor::from_iter(speeds, device)?.reshape((1, head / 2))?;
    let positions = Tensor::arange(0, POSITIONS as u32, device)?.to_dtype(DType::F32)?;
    let angles = positions.reshape((POSITIONS, 1))?.matmul(&speeds)?;
    Ok((angles.cos()?, angles.sin()?))
}

/// The model's name of a GGUF tensor.
fn translate(name: &str) -> Option<String> {
    let known = match name {
        "token_embd.weight" => "model.embed_tokens.weight",
        "output_norm.weight" => "model.norm.weight",
        "output.weight" => "lm_head.weight",
        _ => {
            let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
            let part = match part.strip_suffix(".weight")? {
                "attn_norm" => "input_layernorm",
                "ffn_norm" => "post_attention_layernorm",
                "attn_q" => "self_attn.q_proj",
                "attn_k" => "self_attn.k_proj",
                "attn_v" => "self_attn.v_proj",
                "attn_output" => "self_attn.o_proj",
                "ffn_gate" => "mlp.gate_proj",
                "ffn_up" => "mlp.up_proj",
                "ffn_down" => "mlp.down_proj",
                _ => return None,
            };
            return Some(format!("model.layers.{layer}.{part}.weight"));
        }
    };
    Some(known.to_owned())
}
