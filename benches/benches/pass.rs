//! What a pass over 1, 4 or 8 tokens of SmolLM2-135M costs, beside the time its weights need at
//! the memory bandwidth measured in the same run.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fastdraft_hw::measure::bandwidth;
use fastdraft_model::{
    engine::cpu::{CpuModel, Segment, WeightFormat, Workspace},
    import,
    source::{SourceOptions, resolve},
};

fn pass(c: &mut Criterion) {
    let checkpoint = resolve("smollm2-135m-instruct", &SourceOptions::default())
        .and_then(|path| import::load(&path));
    let checkpoint = match checkpoint {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            println!("skipped: {error}");
            return;
        }
    };
    for (name, format) in [
        ("f32", WeightFormat::F32),
        ("bf16", WeightFormat::Bf16),
        ("int8", WeightFormat::Int8),
    ] {
        let Ok(model) = CpuModel::new(&checkpoint, format) else {
            return;
        };
        if let Ok(rate) = bandwidth() {
            let bound = model.bytes_per_pass() as f64 / rate.bytes_per_second * 1e3;
            println!(
                "{name}: bound {bound:.2} ms a pass at {:.1} GB/s",
                rate.bytes_per_second / 1e9
            );
        }
        let mut cache = model.cache(128);
        let (mut work, mut logits) = (Workspace::new(), Vec::new());
        let prompt: Vec<u32> = (100..164).collect();
        let segment = Segment {
            cache: &mut cache,
            tokens: &prompt,
            outputs: 1,
        };
        if model
            .forward(&mut [segment], &mut work, &mut logits)
            .is_err()
        {
            return;
        }
        let mut group = c.benchmark_group(format!("SmolLM2-135M {name} pass after 64 tokens"));
        group.sample_size(20);
        for tokens in [1usize, 4, 8] {
            group.bench_function(BenchmarkId::from_parameter(tokens), |b| {
                b.iter(|| {
                    cache.truncate(64);
                    let tokens = &prompt[..tokens];
                    let segment = Segment {
                        cache: &mut cache,
                        tokens,
                        outputs: tokens.len(),
                    };
                    model.forward(&mut [segment], &mut work, &mut logits)
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, pass);
criterion_main!(benches);
