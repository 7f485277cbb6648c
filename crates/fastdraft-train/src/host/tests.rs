//! The pass against Burn's autodiff, for every kind of decoder.

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor},
};
use fastdraft_model::{DecoderConfig, decoder::Decoder, draft::init};

use crate::loss::{Batch, Loss, Row, Workspace, checkpointed, fused_all, plain, plain_of};

struct Compare<'a> {
    found: &'a GradientsParams,
    expected: &'a GradientsParams,
    farthest: f32,
    compared: usize,
}

impl ModuleVisitor for Compare<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let get = |all: &GradientsParams| -> Option<Vec<f32>> {
            all.get::<D>(param.id)
                .map(|tensor| tensor.into_data().try_into_vec().unwrap())
        };
        let (found, expected) = (get(self.found), get(self.expected));
        assert_eq!(found.is_some(), expected.is_some(), "{:?}", param.id);
        let (Some(found), Some(expected)) = (found, expected) else {
            return;
        };
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(&expected) {
            self.farthest = self.farthest.max((a - b).abs());
            assert!(a.is_finite());
        }
        self.compared += 1;
    }
}

/// The largest difference of two sets of gradients, and how many tensors both have.
fn apart(decoder: &Decoder, a: &GradientsParams, b: &GradientsParams) -> (f32, usize) {
    let mut compare = Compare {
        found: a,
        expected: b,
        farthest: 0.0,
        compared: 0,
    };
    decoder.visit(&mut compare);
    (compare.farthest, compare.compared)
}

/// In memory that steps before have used, and left no numbers in.
fn fused(decoder: &Decoder, batches: &[Batch], checkpointing: bool) -> (f32, GradientsParams) {
    let mut workspace = Workspace::default();
    let mut run = || {
        let (loss, sums) = fused_all(decoder, batches, checkpointing, &mut workspace).unwrap();
        let gradients = sums.into_gradients(&Device::flex());
        workspace.memory.spoil();
        (loss, gradients)
    };
    run();
    run()
}

fn decoder(config: DecoderConfig) -> Decoder {
    let plain = DecoderConfig {
        tied: false,
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        qk_norm: false,
        ..config.clone()
    };
    let mut checkpoint = init::random(plain, None, 3).unwrap();
    if config.tied {
        checkpoint.weights.remove("lm_head.weight");
    }
    let (q, kv) = (
        config.heads * config.head_dim,
        config.kv_heads * config.head_dim,
    );
    let (wide, hidden) = (config.intermediate_size, config.hidden_size);
    // Norms and biases that are not all ones and zeros.
    let mut put = |name: String, size: usize, around: f32| {
        let value = |i: usize| around + 0.1 * ((i * 5 % 7) as f32 - 3.0);
        let values = (0..size).map(value).collect();
        checkpoint.weights.insert(name, vec![size], values);
    };
    for layer in 0..config.layers {
        let vectors = [
            ("input_layernorm.weight", hidden, 1.0, true),
            ("post_attention_layernorm.weight", hidden, 1.0, true),
            ("self_attn.q_proj.bias", q, 0.0, config.qkv_bias),
            ("self_attn.k_proj.bias", kv, 0.0, config.qkv_bias),
            ("self_attn.v_proj.bias", kv, 0.0, config.qkv_bias),
            ("self_attn.o_proj.bias", hidden, 0.0, config.output_bias),
            (
                "self_attn.q_norm.weight",
                config.head_dim,
                1.0,
                config.qk_norm,
            ),
            (
                "self_attn.k_norm.weight",
                config.head_dim,
                1.0,
                config.qk_norm,
            ),
            ("mlp.gate_proj.bias", wide, 0.0, config.mlp_bias),
            ("mlp.up_proj.bias", wide, 0.0, config.mlp_bias),
            ("mlp.down_proj.bias", hidden, 0.0, config.mlp_bias),
        ];
        for (name, size, around, there) in vectors {
            if there {
                put(format!("model.layers.{layer}.{name}"), size, around);
            }
        }
    }
    put("model.norm.weight".into(), hidden, 1.0);
    checkpoint.config = config;
    Decoder::from_checkpoint(&checkpoint, &Device::flex().autodiff()).unwrap()
}

fn kinds() -> Vec<(&'static str, DecoderConfig)> {
    let base = DecoderConfig {
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        ..DecoderConfig::llama(50, 48, 3)
    };
    vec![
        ("grouped heads", base.clone()),
        (
            "biases",
            DecoderConfig {
                qkv_bias: true,
                output_bias: true,
                mlp_bias: true,
                ..base.clone()
            },
        ),
        (
            "norms of heads, tied",
            DecoderConfig {
                qk_norm: true,
                tied: true,
                ..base.clone()
            },
        ),
        (
            "a window",
            DecoderConfig {
                sliding_window: Some(9),
                kv_heads: 4,
                ..base.clone()
            },
        ),
        (
            "a window in two of three blocks",
            DecoderConfig {
                sliding_window: Some(9),
                full_attention_layers: vec![1],
                ..base
            },
        ),
    ]
}

/// Rows longer than a tile of queries, trained here and there.
fn rows(seq: usize) -> Vec<(Vec<u32>, Vec<bool>)> {
    (0..5usize)
        .map(|row| {
            let ids = (0..=seq).map(|i| ((i * i * 7 + row * 13 + i) % 50) as u32);
            // Of different lengths, and one row with nothing.
            let trained = (0..=seq).map(|i| i > 10 * row && row != 3 && !i.is_multiple_of(5));
            (ids.collect(), trained.collect())
        })
        .collect()
}

fn batch(rows: &[(Vec<u32>, Vec<bool>)]) -> Batch {
    let rows: Vec<Row<'_>> = (rows.iter())
        .map(|(ids, mask)| Row {
            ids,
            mask,
            teacher: None,
        })
        .collect();
    Batch::new(&rows, None, Loss::CrossEntropy).unwrap()
}

#[test]
fn equals_autodiff_for_every_kind_of_decoder() {
    let rows = rows(70);
    for (name, config) in kinds() {
        let decoder = decoder(config);
        let batch = batch(&rows);
        let expected = plain(&decoder, &batch);
        let value = expected.clone().into_scalar::<f32>();
        let expected = GradientsParams::from_grads(expected.backward(), &decoder);
        let (loss, found) = fused(&decoder, &[batch], false);
        let (apart, compared) = apart(&decoder, &found, &expected);
        println!("{name}: {compared} tensors, {apart:e} apart, loss {loss} and {value}");
        assert!((loss - value).abs() < 1e-5, "{name}: {loss} {value}");
        assert!(apart < 1e-5 && compared > 25, "{name}: {apart} {compared}");
    }
}

#[test]
fn micro_batches_add_up_to_one_batch_and_recomputing_changes_no_bit() {
    let rows = rows(70);
    for (name, config) in kinds() {
        let decoder = decoder(config);
        let (value, whole) = fused(&decoder, &[batch(&rows)], false);
        let parts = batch(&rows).split(2);
        assert_eq!(parts.len(), 3);
        let (loss, found) = fused(&decoder, &parts, false);
        let (difference, _) = apart(&decoder, &found, &whole);
        assert!(
            (loss - value).abs() < 1e-5 && difference < 1e-5,
            "{name}: {difference}"
        );
        let (again, recomputed) = fused(&decoder, &parts, true);
        let (difference, _) = apart(&decoder, &recomputed, &found);
        assert_eq!((again, difference), (loss, 0.0), "{name}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let rows = rows(70);
    // Products that are cut into panels, and several strips of positions.
    let decoder = decoder(DecoderConfig {
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        qk_norm: true,
        ..DecoderConfig::llama(50, 256, 2)
    });
    let batch = [batch(&rows)];
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| fused(&decoder, &batch, false))
    };
    let (loss, one) = run(1);
    for threads in [2, 3, 7] {
        let (other, found) = run(threads);
        let (difference, compared) = apart(&decoder, &found, &one);
        assert_eq!((other, difference), (loss, 0.0), "{threads}");
        assert!(compared > 20);
    }
}

#[test]
fn blocks_of_any_device_can_be_run_again() {
    let rows = rows(20);
    for (name, config) in kinds() {
        for frozen in [false, true] {
            let mut decoder = decoder(config.clone());
            if frozen {
                decoder.embed_tokens = decoder.embed_tokens.no_grad();
            }
            let batch = batch(&rows);
            let expected = plain(&decoder, &batch);
            let value = expected.clone().into_scalar::<f32>();
            let expected = GradientsParams::from_grads(expected.backward(), &decoder);
            let (loss, found) = checkpointed(&decoder, &batch, |logits| plain_of(logits, &batch));
            let (difference, _) = apart(&decoder, &found, &expected);
            assert!((loss - value).abs() < 1e-6, "{name}");
            assert!(difference < 1e-6, "{name}: {difference}");
        }
    }
}

#[test]
fn a_step_that_trains_one_row_of_many_is_split_too() {
    let mut rows = rows(20);
    for (row, (_, mask)) in rows.iter_mut().enumerate() {
        mask.fill(row == 4);
    }
    let parts = batch(&rows).split(2);
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].trained(), batch(&rows).trained());
    assert_eq!(batch(&rows).split(5), [batch(&rows)]);
}
