//! Hugging Face directories: written, read back, and refused when something is wrong.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in `#[test]` functions, not in their helpers.

use std::{collections::HashMap, fs, path::Path};

use fastdraft_model::{
    Checkpoint, DecoderConfig, DraftVocabulary, Family, ModelError, RopeScaling, Weights, export,
    import,
};
use safetensors::{Dtype, tensor::TensorView};

const VOCABULARY: usize = 24;

fn config(family: Family) -> DecoderConfig {
    let mut config = DecoderConfig::llama(VOCABULARY, 16, 2);
    config.family = family;
    (config.heads, config.kv_heads, config.head_dim) = (4, 2, 4);
    config.intermediate_size = 12;
    config.context_length = 64;
    config.bos_id = Some(1);
    config.eos_ids = vec![2, 5];
    config.qkv_bias = family == Family::Qwen2;
    config.qk_norm = family == Family::Qwen3;
    config
}

fn checkpoint(config: DecoderConfig) -> Checkpoint {
    let (hidden, width) = (config.hidden_size, config.intermediate_size);
    let (q, kv) = (
        config.heads * config.head_dim,
        config.kv_heads * config.head_dim,
    );
    let mut weights = Weights::new();
    let mut seed = 0_u32;
    let mut add = |name: String, shape: Vec<usize>| {
        let data = (0..shape.iter().product::<usize>())
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 8) as f32 / 1e7 - 0.8
            })
            .collect();
        weights.insert(name, shape, data);
    };
    add(
        "model.embed_tokens.weight".into(),
        vec![config.vocabulary_size, hidden],
    );
    add("model.norm.weight".into(), vec![hidden]);
    if !config.tied {
        add("lm_head.weight".into(), vec![config.head_size, hidden]);
    }
    for layer in 0..config.layers {
        let name = |rest: &str| format!("model.layers.{layer}.{rest}");
        for (part, out) in [("q", q), ("k", kv), ("v", kv)] {
            add(
                name(&format!("self_attn.{part}_proj.weight")),
                vec![out, hidden],
            );
            if config.qkv_bias {
                add(name(&format!("self_attn.{part}_proj.bias")), vec![out]);
            }
        }
        add(name("self_attn.o_proj.weight"), vec![hidden, q]);
        add(name("mlp.gate_proj.weight"), vec![width, hidden]);
        add(name("mlp.up_proj.weight"), vec![width, hidden]);
        add(name("mlp.down_proj.weight"), vec![hidden, width]);
        add(name("input_layernorm.weight"), vec![hidden]);
        add(name("post_attention_layernorm.weight"), vec![hidden]);
        if config.output_bias {
            add(name("self_attn.o_proj.bias"), vec![hidden]);
        }
        if config.qk_norm {
            add(name("self_attn.q_norm.weight"), vec![config.head_dim]);
            add(name("self_attn.k_norm.weight"), vec![config.head_dim]);
        }
    }
    Checkpoint {
        config,
        weights,
        draft_vocabulary: None,
    }
}

fn trimmed() -> Checkpoint {
    let mut config = config(Family::Llama);
    config.head_size = 5;
    let draft = DraftVocabulary::new(vec![0, 3, 4, 17, 23], VOCABULARY).unwrap();
    Checkpoint {
        draft_vocabulary: Some(draft),
        ..checkpoint(config)
    }
}

fn saved(checkpoint: &Checkpoint) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    export::hf::save(dir.path(), checkpoint).unwrap();
    dir
}

type Stored = (Dtype, Vec<usize>, Vec<u8>);

/// Rewrites the weights of a directory.
fn edit(dir: &Path, change: impl FnOnce(&mut HashMap<String, Stored>)) {
    let path = dir.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let mut tensors: HashMap<String, Stored> = safetensors::SafeTensors::deserialize(&bytes)
        .unwrap()
        .iter()
        .map(|(name, view)| {
            (
                name.to_owned(),
                (view.dtype(), view.shape().to_vec(), view.data().to_vec()),
            )
        })
        .collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn edit_config(dir: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let path = dir.join("config.json");
    let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

#[test]
fn every_family_reads_back_equal() {
    for family in [
        Family::Llama,
        Family::Phi3,
        Family::Qwen2,
        Family::Qwen3,
        Family::Mistral,
    ] {
        let mut plain = config(family);
        if family != Family::Llama {
            plain.sliding_window = Some(7);
        }
        let checkpoint = checkpoint(plain);
        let dir = saved(&checkpoint);
        assert_eq!(import::load(dir.path()).unwrap(), checkpoint, "{family:?}");
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(
            names,
            ["config.json", "generation_config.json", "model.safetensors"]
        );
    }
}

#[test]
fn tied_scaled_and_biased_models_read_back_equal() {
    let mut config = config(Family::Llama);
    config.tied = true;
    (config.qkv_bias, config.output_bias) = (true, true);
    config.rope_scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 32,
    };
    let checkpoint = checkpoint(config);
    assert_eq!(
        import::hf::load(saved(&checkpoint).path()).unwrap(),
        checkpoint
    );
}

#[test]
fn longrope_reads_back_equal() {
    for attention_factor in [None, Some(1.5)] {
        let mut config = config(Family::Phi3);
        config.rope_scaling = RopeScaling::LongRope {
            short: vec![1.0, 1.5],
            long: vec![2.0, 7.25],
            original_context: 32,
            attention_factor,
        };
        let checkpoint = checkpoint(config);
        let read = import::hf::load(saved(&checkpoint).path()).unwrap();
        assert_eq!(read, checkpoint);
    }
}

#[test]
fn a_trimmed_head_reads_back_equal() {
    let checkpoint = trimmed();
    let dir = saved(&checkpoint);
    assert_eq!(import::hf::load(dir.path()).unwrap(), checkpoint);
}

#[test]
fn contradicting_draft_maps_are_refused() {
    let dir = saved(&trimmed());
    edit(dir.path(), |tensors| {
        tensors.get_mut("t2d").unwrap().2[3] = 0
    });
    let error = import::hf::load(dir.path()).unwrap_err();
    assert!(error.to_string().contains("t2d[3] is 0"), "{error}");
    edit(dir.path(), |tensors| {
        tensors.get_mut("d2t").unwrap().2[..8].copy_from_slice(&i64::MIN.to_le_bytes());
    });
    let error = import::hf::load(dir.path()).unwrap_err();
    assert!(error.to_string().contains("d2t[0]"), "{error}");
}

#[test]
fn a_trimmed_head_needs_its_maps() {
    let checkpoint = Checkpoint {
        draft_vocabulary: None,
        ..trimmed()
    };
    let dir = tempfile::tempdir().unwrap();
    let error = export::hf::save(dir.path(), &checkpoint).unwrap_err();
    assert!(matches!(error, ModelError::InvalidConfig { .. }), "{error}");
}

#[test]
fn wrong_tensors_are_named() {
    let name = "model.layers.1.mlp.up_proj.weight";
    let checkpoint = checkpoint(config(Family::Llama));
    let missing = saved(&checkpoint);
    edit(missing.path(), |tensors| drop(tensors.remove(name)));
    let error = import::hf::load(missing.path()).unwrap_err();
    assert!(matches!(&error, ModelError::MissingTensor { name: found } if found == name));

    let extra = saved(&checkpoint);
    edit(extra.path(), |tensors| {
        tensors.insert(
            "model.extra.weight".into(),
            (Dtype::F32, vec![1], vec![0; 4]),
        );
        let buffer = "model.layers.0.self_attn.rotary_emb.inv_freq";
        tensors.insert(buffer.into(), (Dtype::F32, vec![1], vec![0; 4]));
    });
    let error = import::hf::load(extra.path()).unwrap_err();
    assert!(
        matches!(&error, ModelError::UnexpectedTensor { name } if name == "model.extra.weight")
    );
    edit(extra.path(), |tensors| {
        drop(tensors.remove("model.extra.weight"))
    });
    assert_eq!(import::hf::load(extra.path()).unwrap(), checkpoint);

    let misshapen = saved(&checkpoint);
    edit(misshapen.path(), |tensors| {
        tensors.get_mut(name).unwrap().1 = vec![16, 12]
    });
    let error = import::hf::load(misshapen.path()).unwrap_err();
    assert!(matches!(
        error,
        ModelError::ShapeMismatch { expected, found, .. }
            if expected == [12, 16] && found == [16, 12]
    ));
}

#[test]
fn truncated_weights_are_corrupt() {
    let dir = saved(&checkpoint(config(Family::Llama)));
    let path = dir.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    for len in [0, 4, 8, 40, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..len]).unwrap();
        let error = import::hf::load(dir.path()).unwrap_err();
        assert!(
            matches!(error, ModelError::Corrupt { .. }),
            "{len}: {error}"
        );
    }
}

/// A safetensors file with this header and this many zero bytes behind it.
fn file_of(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn hostile_safetensors_are_corrupt() {
    let dir = saved(&checkpoint(config(Family::Llama)));
    let tensor = |name: &str, shape: &str, from: usize, to: usize| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let two = |a: String, b: String| format!("{{{a},{b}}}");
    let overflow = "[4294967296,4294967296,2]";
    let cases = [
        (
            "overlap",
            two(tensor("a", "[4]", 0, 16), tensor("b", "[4]", 8, 24)),
            24,
        ),
        (
            "hole",
            two(tensor("a", "[4]", 0, 16), tensor("b", "[4]", 20, 36)),
            36,
        ),
        (
            "past the end",
            format!("{{{}}}", tensor("a", "[4]", 0, 16)),
            8,
        ),
        (
            "left over",
            format!("{{{}}}", tensor("a", "[4]", 0, 16)),
            32,
        ),
        (
            "backwards",
            format!("{{{}}}", tensor("a", "[4]", 16, 0)),
            16,
        ),
        (
            "other size",
            format!("{{{}}}", tensor("a", "[5]", 0, 16)),
            16,
        ),
        (
            "overflow",
            format!("{{{}}}", tensor("a", overflow, 0, 0)),
            0,
        ),
        (
            "twice",
            two(tensor("a", "[4]", 0, 16), tensor("a", "[4]", 16, 32)),
            32,
        ),
        ("no object", "[]".to_owned(), 0),
        ("no JSON", "{".to_owned(), 0),
    ];
    for (what, header, data) in cases {
        fs::write(dir.path().join("model.safetensors"), file_of(&header, data)).unwrap();
        let error = import::hf::load(dir.path()).unwrap_err();
        assert!(
            matches!(error, ModelError::Corrupt { .. }),
            "{what}: {error}"
        );
        assert!(error.to_string().contains("model.safetensors"), "{error}");
    }
    let mut huge = file_of("{}", 0);
    huge[..8].copy_from_slice(&(100_u64 << 30).to_le_bytes());
    fs::write(dir.path().join("model.safetensors"), huge).unwrap();
    let error = import::hf::load(dir.path()).unwrap_err();
    assert!(matches!(error, ModelError::Corrupt { .. }), "{error}");
}

#[test]
fn indices_that_contradict_their_files_are_refused() {
    let dir = saved(&checkpoint(config(Family::Llama)));
    let path = |name: &str| dir.path().join(name);
    fs::rename(path("model.safetensors"), path("a.safetensors")).unwrap();
    fs::copy(path("a.safetensors"), path("b.safetensors")).unwrap();
    let index = |map: &[(&str, &str)]| {
        let map: HashMap<_, _> = map.iter().copied().collect();
        let text = serde_json::json!({ "weight_map": map }).to_string();
        fs::write(path("model.safetensors.index.json"), text).unwrap();
        import::hf::load(dir.path()).unwrap_err()
    };
    let (norm, head) = ("model.norm.weight", "lm_head.weight");
    let error = index(&[(norm, "a.safetensors"), (head, "b.safetensors")]);
    assert!(
        error.to_string().contains("is in another file too"),
        "{error}"
    );
    let error = index(&[("model.absent", "a.safetensors")]);
    assert!(matches!(&error, ModelError::MissingTensor { name } if name == "model.absent"));
    let error = index(&[(norm, "c.safetensors")]);
    assert!(matches!(error, ModelError::Io { .. }), "{error}");
    for name in ["/etc/passwd", "..", "a/b.safetensors", ""] {
        let error = index(&[(norm, name)]);
        assert!(error.to_string().contains("is not a file name"), "{error}");
    }
}

#[test]
fn unknown_settings_are_named() {
    let checkpoint = checkpoint(config(Family::Llama));
    let cases: [(&str, serde_json::Value, &str); 33] = [
        ("model_type", "mamba".into(), "mamba"),
        ("hidden_act", "gelu".into(), "gelu"),
        (
            "rope_scaling",
            serde_json::json!({ "type": "proportional", "factor": 4.0 }),
            "proportional",
        ),
        (
            "rope_scaling",
            serde_json::json!({ "type": "linear" }),
            "no `factor`",
        ),
        (
            "rope_scaling",
            serde_json::json!({ "rope_type": "default", "mrope_section": [2, 3, 3] }),
            "mrope_section",
        ),
        (
            "rope_scaling",
            serde_json::json!({ "full_attention": { "rope_type": "default" } }),
            "settings of their own for `full_attention`",
        ),
        (
            "rope_scaling",
            serde_json::json!({ "type": "dynamic", "factor": 0.5 }),
            "dynamic rope of factor 0.5",
        ),
        (
            "rope_scaling",
            serde_json::json!({ "type": "yarn", "factor": -1.0 }),
            "rope factor is -1",
        ),
        ("partial_rotary_factor", 0.5.into(), "0.5 of Llama"),
        (
            "hidden_activation",
            "gelu_pytorch_tanh".into(),
            "gelu_pytorch_tanh",
        ),
        (
            "quantization_config",
            serde_json::json!({ "quant_method": "gptq", "bits": 4 }),
            "gptq",
        ),
        (
            "architectures",
            serde_json::json!(["LlamaForSequenceClassification"]),
            "LlamaForSequenceClassification",
        ),
        (
            "architectures",
            serde_json::json!(["LlamaForCausalLMEagle3"]),
            "LlamaForCausalLMEagle3",
        ),
        ("qkv_bias", true.into(), "qkv_bias"),
        ("sliding_window", 8.into(), "sliding_window: 8 in Llama"),
        (
            "layer_types",
            serde_json::json!(["full_attention"]),
            "1 layer types",
        ),
        (
            "layer_types",
            serde_json::json!(["full_attention", "chunked_attention"]),
            "chunked_attention",
        ),
        (
            "layer_types",
            serde_json::json!(["full_attention", "sliding_attention"]),
            "in 1 of 2 layers",
        ),
        ("logit_scale", 0.5.into(), "`logit_scale`: 0.5"),
        (
            "embedding_multiplier",
            12.into(),
            "`embedding_multiplier`: 12",
        ),
        ("residual_multiplier", 0.2.into(), "residual_multiplier"),
        ("attention_multiplier", 0.1.into(), "attention_multiplier"),
        (
            "final_logit_softcapping",
            30.into(),
            "final_logit_softcapping",
        ),
        ("num_local_experts", 8.into(), "num_local_experts"),
        (
            "no_rope_layers",
            serde_json::json!([1, 0]),
            "no_rope_layers",
        ),
        ("attention_chunk_size", 8192.into(), "attention_chunk_size"),
        ("is_encoder_decoder", true.into(), "is_encoder_decoder"),
        ("text_config", serde_json::json!({ "a": 1 }), "text_config"),
        ("use_qk_norm", true.into(), "use_qk_norm"),
        ("head_dim", 5.into(), "head dimension 5 is odd"),
        (
            "rope_scaling",
            serde_json::json!({
                "type": "longrope",
                "short_factor": [1.0],
                "long_factor": [1.0, 2.0],
                "original_max_position_embeddings": 32,
            }),
            "1 values in short_factor for 2 pairs",
        ),
        (
            "num_key_value_heads",
            3.into(),
            "4 heads are not a multiple of 3",
        ),
        ("num_hidden_layers", u64::MAX.into(), "number of layers"),
    ];
    for (key, value, expected) in cases {
        let dir = saved(&checkpoint);
        edit_config(dir.path(), |config| config[key] = value);
        let error = import::hf::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{key}: {error}");
    }
}

/// Refusals that depend on the family.
#[test]
fn settings_a_family_has_not_are_named() {
    let cases: [(Family, &str, serde_json::Value, &str); 8] = [
        (
            Family::Mistral,
            "attention_bias",
            true.into(),
            "true in Mistral",
        ),
        (Family::Phi3, "attention_bias", true.into(), "true in Phi3"),
        (Family::Qwen2, "mlp_bias", true.into(), "true in Qwen2"),
        (
            Family::Qwen3,
            "partial_rotary_factor",
            0.25.into(),
            "0.25 of Qwen3",
        ),
        (
            Family::Phi3,
            "partial_rotary_factor",
            0.25.into(),
            "1 rotated elements",
        ),
        (
            Family::Phi3,
            "partial_rotary_factor",
            2.0.into(),
            "8 rotated elements",
        ),
        (
            Family::Phi3,
            "layer_types",
            serde_json::json!(["full_attention", "full_attention"]),
            "Some(7) in 0 of 2 layers",
        ),
        (
            Family::Qwen3,
            "use_sliding_window",
            serde_json::json!("yes"),
            "invalid type: string",
        ),
    ];
    for (family, key, value, expected) in cases {
        let mut plain = config(family);
        plain.sliding_window = Some(7);
        let dir = saved(&checkpoint(plain));
        edit_config(dir.path(), |config| config[key] = value);
        let error = import::hf::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{family:?} {key}: {error}");
    }
}

#[test]
fn layers_without_the_window_are_named_by_either_spelling_and_read_back() {
    for (family, key, value, full) in [
        (
            Family::Qwen2,
            "max_window_layers",
            serde_json::json!(1),
            vec![0],
        ),
        (
            Family::Qwen3,
            "layer_types",
            serde_json::json!(["sliding_attention", "full_attention"]),
            vec![1],
        ),
    ] {
        let mut plain = config(family);
        plain.sliding_window = Some(7);
        let dir = saved(&checkpoint(plain));
        edit_config(dir.path(), |config| config[key] = value);
        let loaded = import::hf::load(dir.path()).unwrap();
        assert_eq!(loaded.config.full_attention_layers, full, "{family:?}");
        assert_eq!(loaded.config.window(full[0]), None);
        assert_eq!(loaded.config.window(1 - full[0]), Some(7));
        assert_eq!(import::hf::load(saved(&loaded).path()).unwrap(), loaded);
    }
}

#[test]
fn settings_without_an_effect_are_ignored() {
    let checkpoint = checkpoint(config(Family::Llama));
    for (key, value) in [
        ("attention_dropout", serde_json::json!(0.1)),
        ("initializer_range", serde_json::json!(0.02)),
        ("pretraining_tp", serde_json::json!(2)),
        ("use_cache", serde_json::json!(false)),
        ("auto_map", serde_json::json!({ "AutoConfig": "a.B" })),
        ("_name_or_path", serde_json::json!("x/y")),
        ("logit_scale", serde_json::json!(1.0)),
        ("num_local_experts", serde_json::json!(0)),
        ("sliding_window", serde_json::Value::Null),
        ("partial_rotary_factor", serde_json::json!(1.0)),
        ("rope_scaling", serde_json::json!({})),
        (
            "rope_scaling",
            serde_json::json!({ "type": "default", "finetuned": true }),
        ),
        ("use_mrope", serde_json::json!(false)),
        (
            "layer_types",
            serde_json::json!(["full_attention", "full_attention"]),
        ),
        ("something_new", serde_json::json!("x")),
    ] {
        let dir = saved(&checkpoint);
        edit_config(dir.path(), |config| config[key] = value);
        assert_eq!(import::hf::load(dir.path()).unwrap(), checkpoint, "{key}");
    }
}

#[test]
fn yarn_dynamic_and_partial_heads_read_back_equal() {
    let yarn = RopeScaling::Yarn {
        factor: 4.0,
        original_context: 16,
        beta_fast: 24.0,
        beta_slow: 0.5,
        truncate: false,
        attention_factor: 1.25,
    };
    for scaling in [yarn, RopeScaling::Dynamic { factor: 3.0 }] {
        let mut config = config(Family::Qwen3);
        config.head_dim = 8;
        config.rope_scaling = scaling;
        let checkpoint = checkpoint(config);
        let dir = saved(&checkpoint);
        assert_eq!(import::hf::load(dir.path()).unwrap(), checkpoint);
    }
    // 0.3 · 20 is 6 only when it is rounded.
    for (head_dim, rotary) in [(4, 2), (20, 6), (12, 10)] {
        let mut config = config(Family::Phi3);
        (config.head_dim, config.rotary_dim) = (head_dim, Some(rotary));
        let checkpoint = checkpoint(config);
        let dir = saved(&checkpoint);
        assert_eq!(import::hf::load(dir.path()).unwrap(), checkpoint);
    }
}

#[test]
fn pickled_weights_are_named() {
    let dir = saved(&checkpoint(config(Family::Llama)));
    fs::rename(
        dir.path().join("model.safetensors"),
        dir.path().join("pytorch_model.bin"),
    )
    .unwrap();
    let error = import::hf::load(dir.path()).unwrap_err();
    assert!(matches!(error, ModelError::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("pytorch_model.bin"), "{error}");
}

#[test]
fn a_mask_may_be_left_out_of_a_trimmed_draft() {
    let checkpoint = trimmed();
    let dir = saved(&checkpoint);
    edit(dir.path(), |tensors| drop(tensors.remove("t2d")));
    assert_eq!(import::hf::load(dir.path()).unwrap(), checkpoint);
}

#[test]
fn a_tokenizer_is_carried_along() {
    let source = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json", "notes.txt"] {
        fs::write(source.path().join(name), name).unwrap();
    }
    let files = export::hf::TokenizerFiles::read(source.path()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    let checkpoint = checkpoint(config(Family::Qwen2));
    export::hf::save_with(&out, &checkpoint, &files).unwrap();
    assert_eq!(import::load(&out).unwrap(), checkpoint);
    assert_eq!(
        fs::read(out.join("tokenizer.json")).unwrap(),
        b"tokenizer.json"
    );
    assert!(out.join("tokenizer_config.json").exists());
    assert!(!out.join("notes.txt").exists());
}

#[test]
fn both_rope_spellings_read_equal() {
    let checkpoint = checkpoint(config(Family::Llama));
    let dir = saved(&checkpoint);
    edit_config(dir.path(), |config| {
        let config = config.as_object_mut().unwrap();
        let theta = config.remove("rope_theta").unwrap();
        config.remove("rope_scaling");
        let parameters = serde_json::json!({ "rope_type": "default", "rope_theta": theta });
        config.insert("rope_parameters".into(), parameters);
    });
    assert_eq!(import::hf::load(dir.path()).unwrap(), checkpoint);
}

#[test]
fn shards_read_equal_and_stay_in_their_directory() {
    let checkpoint = checkpoint(config(Family::Llama));
    let dir = saved(&checkpoint);
    let index = dir.path().join("model.safetensors.index.json");
    let shard = dir.path().join("model-00001-of-00001.safetensors");
    fs::rename(dir.path().join("model.safetensors"), shard).unwrap();
    let write = |file: &str| {
        let map: HashMap<&str, &str> = checkpoint
            .weights
            .iter()
            .map(|(name, _)| (name, file))
            .collect();
        fs::write(&index, serde_json::json!({ "weight_map": map }).to_string()).unwrap();
    };
    write("model-00001-of-00001.safetensors");
    assert_eq!(import::hf::load(dir.path()).unwrap(), checkpoint);
    write("../model-00001-of-00001.safetensors");
    let error = import::hf::load(dir.path()).unwrap_err();
    assert!(error.to_string().contains("is not a file name"), "{error}");
}
