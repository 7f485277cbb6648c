//! Between host memory and the module.

use burn::{
    module::Param,
    nn::{Embedding, Linear, RmsNorm},
    tensor::{Device, Tensor, TensorData},
};

use super::{Attention, Block, Decoder, Mlp};
use crate::{
    checkpoint::{Checkpoint, DraftVocabulary},
    config::DecoderConfig,
    error::ModelError,
    weights::Weights,
};

struct Reader<'a> {
    weights: &'a Weights,
    device: &'a Device,
}

impl Reader<'_> {
    fn tensor<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
    ) -> Result<Tensor<D>, ModelError> {
        let tensor = self.weights.get(name, &shape)?;
        Ok(Tensor::from_data(
            TensorData::new(tensor.data.clone(), shape),
            self.device,
        ))
    }

    fn linear(
        &self,
        name: &str,
        input: usize,
        output: usize,
        bias: bool,
    ) -> Result<Linear, ModelError> {
        let tensor = self
            .weights
            .get(&format!("{name}.weight"), &[output, input])?;
        let data = transpose(&tensor.data, output, input);
        let weight = Tensor::from_data(TensorData::new(data, [input, output]), self.device);
        let bias = if bias {
            Some(Param::from_tensor(
                self.tensor::<1>(&format!("{name}.bias"), [output])?,
            ))
        } else {
            None
        };
        Ok(Linear {
            weight: Param::from_tensor(weight),
            bias,
        })
    }

    fn norm(&self, name: &str, size: usize, epsilon: f64) -> Result<RmsNorm, ModelError> {
        let gamma = self.tensor::<1>(&format!("{name}.weight"), [size])?;
        Ok(RmsNorm {
            gamma: Param::from_tensor(gamma),
            epsilon,
        })
    }

    fn block(&self, config: &DecoderConfig, index: usize) -> Result<Block, ModelError> {
        let c = config;
        let at = |part: &str| format!("model.layers.{index}.{part}");
        let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let head_norm = |name: &str| {
            if c.qk_norm {
                self.norm(&at(name), c.head_dim, c.norm_epsilon).map(Some)
            } else {
                Ok(None)
            }
        };
        Ok(Block {
            input_layernorm: self.norm(&at("input_layernorm"), c.hidden_size, c.norm_epsilon)?,
            self_attn: Attention {
                q_proj: self.linear(&at("self_attn.q_proj"), c.hidden_size, q, c.qkv_bias)?,
                k_proj: self.linear(&at("self_attn.k_proj"), c.hidden_size, kv, c.qkv_bias)?,
                v_proj: self.linear(&at("self_attn.v_proj"), c.hidden_size, kv, c.qkv_bias)?,
                o_proj: self.linear(&at("self_attn.o_proj"), q, c.hidden_size, c.output_bias)?,
                q_norm: head_norm("self_attn.q_norm")?,
                k_norm: head_norm("self_attn.k_norm")?,
                heads: c.heads,
                kv_heads: c.kv_heads,
                head_dim: c.head_dim,
            },
            post_attention_layernorm: self.norm(
                &at("post_attention_layernorm"),
                c.hidden_size,
                c.norm_epsilon,
            )?,
            mlp: Mlp {
                gate_proj: self.linear(
                    &at("mlp.gate_proj"),
                    c.hidden_size,
                    c.intermediate_size,
                    c.mlp_bias,
                )?,
                up_proj: self.linear(
                    &at("mlp.up_proj"),
                    c.hidden_size,
                    c.intermediate_size,
                    c.mlp_bias,
                )?,
                down_proj: self.linear(
                    &at("mlp.down_proj"),
                    c.intermediate_size,
                    c.hidden_size,
                    c.mlp_bias,
                )?,
            },
        })
    }
}

impl Decoder {
    /// Puts a checkpoint on a device.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] or [`ModelError::ShapeMismatch`].
    pub fn from_checkpoint(checkpoint: &Checkpoint, device: &Device) -> Result<Self, ModelError> {
        let config = &checkpoint.config;
        let reader = Reader {
            weights: &checkpoint.weights,
            device,
        };
        let embedding = reader.tensor::<2>(
            "model.embed_tokens.weight",
            [config.vocabulary_size, config.hidden_size],
        )?;
        let lm_head = if config.tied {
            None
        } else {
            Some(reader.linear("lm_head", config.hidden_size, config.head_size, false)?)
        };
        Ok(Self {
            embed_tokens: Embedding {
                weight: Param::from_tensor(embedding),
            },
            layers: (0..config.layers)
                .map(|index| reader.block(config, index))
                .collect::<Result<_, _>>()?,
            norm: reader.norm("model.norm", config.hidden_size, config.norm_epsilon)?,
            lm_head,
            config: config.clone(),
        })
    }

    /// Copies the weights back to host memory.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`] when the device cannot hand a tensor over as float32.
    pub fn to_checkpoint(
        &self,
        draft_vocabulary: Option<DraftVocabulary>,
    ) -> Result<Checkpoint, ModelError> {
        let mut weights = Weights::new();
        put(
            &mut weights,
            "model.embed_tokens.weight",
            self.embed_tokens.weight.val(),
        )?;
        for (index, block) in self.layers.iter().enumerate() {
            let at = |part: &str| format!("model.layers.{index}.{part}");
            let attention = &block.self_attn;
            put(
                &mut weights,
                &at("input_layernorm.weight"),
                block.input_layernorm.gamma.val(),
            )?;
            put(
                &mut weights,
                &at("post_attention_layernorm.weight"),
                block.post_attention_layernorm.gamma.val(),
            )?;
            for (name, linear) in [
                ("self_attn.q_proj", &attention.q_proj),
                ("self_attn.k_proj", &attention.k_proj),
                ("self_attn.v_proj", &attention.v_proj),
                ("self_attn.o_proj", &attention.o_proj),
                ("mlp.gate_proj", &block.mlp.gate_proj),
                ("mlp.up_proj", &block.mlp.up_proj),
                ("mlp.down_proj", &block.mlp.down_proj),
            ] {
                put_linear(&mut weights, &at(name), linear)?;
            }
            for (name, norm) in [
                ("self_attn.q_norm.weight", &attention.q_norm),
                ("self_attn.k_norm.weight", &attention.k_norm),
            ] {
                if let Some(norm) = norm {
                    put(&mut weights, &at(name), norm.gamma.val())?;
                }
            }
        }
        put(&mut weights, "model.norm.weight", self.norm.gamma.val())?;
        if let Some(head) = &self.lm_head {
            put_linear(&mut weights, "lm_head", head)?;
        }
        Ok(Checkpoint {
            config: self.config.clone(),
            weights,
            draft_vocabulary,
        })
    }
}

fn put<const D: usize>(
    weights: &mut Weights,
    name: &str,
    tensor: Tensor<D>,
) -> Result<(), ModelError> {
    let shape = tensor.dims().to_vec();
    let data = tensor
        .into_data()
        .convert::<f32>()
        .try_into_vec::<f32>()
        .map_err(|error| ModelError::InvalidConfig {
            reason: format!("tensor `{name}`: {error:?}"),
        })?;
    weights.insert(name, shape, data);
    Ok(())
}

fn put_linear(weights: &mut Weights, name: &str, linear: &Linear) -> Result<(), ModelError> {
    put(
        weights,
        &format!("{name}.weight"),
        linear.weight.val().transpose(),
    )?;
    match &linear.bias {
        Some(bias) => put(weights, &format!("{name}.bias"), bias.val()),
        None => Ok(()),
    }
}

fn transpose(data: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; data.len()];
    for (r, row) in data.chunks_exact(columns).enumerate() {
        for (c, value) in row.iter().enumerate() {
            out[c * rows + r] = *value;
        }
    }
    out
}
