//! The torch worker against the Burn trainer, on gloo ranks on the CPU.
//!
//! `FASTDRAFT_PYTHON` names the interpreter; without it `python3` is tried, and the tests say that
//! they are left out when it has no torch.

#![allow(clippy::unwrap_used)]

mod torch_common;

use std::{fs, ops::ControlFlow, path::Path, process::Command};

use burn::tensor::Device;
use fastdraft_data::{
    MixtureLoader,
    shard::{ShardSpec, write_set},
};
use fastdraft_train::{
    TrainError,
    checkpoint::CheckpointFolder,
    loss::Loss,
    optim::AdamWConfig,
    stage::{
        Budget, Engine, Freeze, Precision, Source, StageConfig, StageState, Step, TeacherLogits,
        Trainer,
    },
    torch::{Nodes, TorchConfig, TorchEngine},
};
use torch_common::{SEQ, VOCABULARY, corpus, draft, python, target, taught, taught_by};

fn stage(loss: Loss, steps: usize) -> StageConfig {
    StageConfig {
        name: "FT".into(),
        budget: Budget::Steps(steps),
        // Odd, so that the ranks have unequal parts.
        batch: 5,
        clip: 0.5,
        seed: 11,
        loss,
        optimizer: AdamWConfig {
            weight_decay: 0.1,
            ..AdamWConfig::default()
        },
        schedule: fastdraft_train::optim::schedule::Schedule::cosine(3e-3),
        ..StageConfig::default()
    }
}

fn worker(config: TorchConfig) -> Option<TorchEngine> {
    let config = TorchConfig {
        python: python()?,
        threads: Some(1),
        fingerprint: 0xfeed,
        ..config
    };
    Some(TorchEngine::new(draft(), Freeze::EMBEDDING, config).unwrap())
}

fn ranks(ranks: usize) -> TorchConfig {
    TorchConfig {
        ranks,
        ..TorchConfig::default()
    }
}

fn burn() -> Trainer {
    Trainer::new(&draft(), &Device::flex(), Freeze::EMBEDDING).unwrap()
}

/// Losses and norms of all steps, and the state after them.
fn run(
    engine: &mut dyn Engine,
    config: &StageConfig,
    state: StageState,
) -> (Vec<[f32; 2]>, StageState) {
    let (text, answers) = (corpus(), taught());
    let sources: Vec<Source<'_>> = if config.loss.needs_teacher() {
        vec![(&answers, 1).into()]
    } else {
        vec![(&text, 2).into(), (answers.packed(), 1).into()]
    };
    let mut seen = Vec::new();
    let mut observe = |step: &Step<'_>| {
        seen.push([step.loss.unwrap(), step.norm.unwrap()]);
        Ok(ControlFlow::Continue(()))
    };
    let state = engine
        .run_stage(config, &sources, state, &mut observe)
        .unwrap();
    (seen, state)
}

fn close(name: &str, ours: &[f32], theirs: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), theirs.len(), "{name}");
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= tolerance, "{name}[{i}]: {a} {b}");
    }
}

#[test]
fn two_ranks_follow_burn_with_every_loss() {
    for (loss, steps) in [
        (Loss::CrossEntropy, 50),
        (Loss::Kl, 8),
        (Loss::CrossEntropyKl, 8),
        (Loss::TotalVariation, 50),
        (Loss::CrossEntropyTotalVariation, 8),
    ] {
        let Some(mut torch) = worker(ranks(2)) else {
            return;
        };
        let (config, mut trainer) = (stage(loss, steps), burn());
        let (expected, burn_state) = run(&mut trainer, &config, StageState::default());
        let (seen, torch_state) = run(&mut torch, &config, StageState::default());
        let farthest = (expected.iter().zip(&seen))
            .map(|(a, b)| (a[0] - b[0]).abs())
            .fold(0.0, f32::max);
        println!("{loss:?}: {steps} steps, losses at most {farthest:e} apart");
        for (i, (a, b)) in expected.iter().zip(&seen).enumerate() {
            assert!(
                (a[0] - b[0]).abs() < 1e-3,
                "{loss:?}, step {i}: {a:?} {b:?}"
            );
            assert!(
                (a[1] - b[1]).abs() < 1e-2 * a[1],
                "{loss:?}, step {i}: {a:?} {b:?}"
            );
        }
        assert_eq!(seen.len(), steps);
        assert!(expected.iter().any(|[_, norm]| *norm > config.clip));
        assert_eq!(torch_state.step, burn_state.step);
        assert_eq!(torch_state.tokens, burn_state.tokens);
        let (a, b) = (trainer.checkpoint().unwrap(), torch.checkpoint().unwrap());
        assert_eq!(a.draft_vocabulary, b.draft_vocabulary);
        for ((name, a), (other, b)) in a.weights.iter().zip(b.weights.iter()) {
            assert_eq!((name, &a.shape), (other, &b.shape));
            close(name, &a.data, &b.data, 2e-3);
        }
        let (a, b) = (
            burn_state.optimizer.unwrap(),
            torch_state.optimizer.unwrap(),
        );
        assert_eq!(a.steps(), b.steps());
        for ((name, a), (other, b)) in a.moments().iter().zip(b.moments()) {
            assert_eq!(name, other);
            close(name, &a.first, &b.first, 2e-3);
            close(name, &a.second, &b.second, 2e-3);
        }
    }
}

/// What the target thinks of the rows, over all tokens of the head, is what it recorded when as
/// many tokens were.
#[test]
fn a_live_teacher_has_the_losses_of_one_that_recorded_everything() {
    for loss in [Loss::Kl, Loss::CrossEntropyTotalVariation] {
        let Some(torch) = worker(ranks(2)) else {
            return;
        };
        let mut torch = torch.with_teacher(target());
        let answers = taught_by(&target());
        let recorded = StageConfig {
            accumulation: 2,
            ..stage(loss, 6)
        };
        let live = StageConfig {
            teacher_logits: TeacherLogits::Live,
            ..recorded.clone()
        };
        let text = answers.packed();
        let run = |engine: &mut dyn Engine, config: &StageConfig, source: Source<'_>| {
            let mut losses = Vec::new();
            let state = StageState::default();
            engine
                .run_stage(config, &[source], state, &mut |step| {
                    losses.push(step.loss.unwrap());
                    Ok(ControlFlow::Continue(()))
                })
                .map(|_| losses)
        };
        let expected = run(&mut burn(), &recorded, (&answers, 1).into()).unwrap();
        let seen = run(&mut torch, &live, (text, 1).into()).unwrap();
        close("losses", &expected, &seen, 1e-3);
        assert!(expected[5] < expected[0]);
        let refused = run(&mut burn(), &live, (text, 1).into()).unwrap_err();
        assert!(refused.to_string().contains("torch engine"), "{refused}");
        let mut without = worker(ranks(1)).unwrap();
        let refused = run(&mut without, &live, (text, 1).into()).unwrap_err();
        assert!(refused.to_string().contains("no target"), "{refused}");
    }
}

/// Micro-batches of masked rows of different lengths, some of them without a trained position,
/// and ranks with fewer rows than micro-batches.
#[test]
fn accumulated_steps_equal_those_of_one_batch_on_both_engines() {
    let answers = taught();
    let run = |engine: &mut dyn Engine, config: &StageConfig| {
        let mut norms = Vec::new();
        let mut observe = |step: &Step<'_>| {
            norms.push(step.norm.unwrap());
            Ok(ControlFlow::Continue(()))
        };
        let sources = [Source::from((&answers, 1))];
        let state = StageState::default();
        let state = engine.run_stage(config, &sources, state, &mut observe);
        (state.unwrap(), norms)
    };
    for (loss, batch, accumulation) in [
        (Loss::CrossEntropy, 3, 2),
        (Loss::CrossEntropyTotalVariation, 1, 6),
    ] {
        let whole = StageConfig {
            batch: 6,
            ..stage(loss, 12)
        };
        let (expected, norms) = run(&mut burn(), &whole);
        let config = StageConfig {
            batch,
            accumulation,
            gradient_checkpointing: batch == 1,
            ..whole
        };
        let (state, found) = run(&mut burn(), &config);
        assert_eq!((state.step, state.tokens), (12, 12 * 6 * SEQ));
        close("losses of Burn", &state.losses, &expected.losses, 1e-5);
        close("norms of Burn", &found, &norms, 1e-4);
        let Some(mut torch) = worker(ranks(2)) else {
            return;
        };
        let (state, found) = run(&mut torch, &config);
        assert_eq!((state.step, state.tokens), (12, 12 * 6 * SEQ));
        close("losses of torch", &state.losses, &expected.losses, 1e-3);
        close("norms of torch", &found, &norms, 1e-2);
    }
}

#[test]
fn a_killed_rank_ends_the_run_and_the_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let run_folder = dir.path().join("torch");
    let kept = || TorchConfig {
        folder: Some(run_folder.clone()),
        ..ranks(2)
    };
    let Some(mut torch) = worker(kept()) else {
        return;
    };
    let before = torch.checkpoint().unwrap();
    let config = stage(Loss::CrossEntropyTotalVariation, 16);
    let folder = CheckpointFolder::new(dir.path().join("checkpoints"), "seed = 11", 2);
    let answers = taught();
    let sources = [Source::from((&answers, 1))];
    let mut observe = |step: &Step<'_>| {
        if step.state.step.is_multiple_of(5) {
            folder.save("FT", step)?;
        }
        if step.state.step == 12 {
            let log = fs::read_to_string(run_folder.join("FT/worker.log")).unwrap();
            let at = log.split("rank 1 of 2: pid ").nth(1).unwrap();
            let pid = at.split(',').next().unwrap();
            let killed = Command::new("kill").args(["-9", pid]).status().unwrap();
            assert!(killed.success());
        }
        Ok(ControlFlow::Continue(()))
    };
    let error = torch
        .run_stage(&config, &sources, StageState::default(), &mut observe)
        .unwrap_err();
    let message = error.to_string();
    println!("{message}");
    assert!(
        matches!(error, TrainError::Worker { step: 12, .. }),
        "{message}"
    );
    assert!(
        message.contains("rank 1 was ended by signal 9"),
        "{message}"
    );
    assert_eq!(torch.checkpoint().unwrap(), before);

    let resume = || folder.resume(config.optimizer).unwrap().unwrap();
    let whole = worker(ranks(2)).map(|mut torch| run(&mut torch, &config, StageState::default()));
    let (_, whole) = whole.unwrap();
    let found = resume();
    assert_eq!(found.state.step, 10);
    assert_eq!(found.state.losses[..], whole.losses[..10]);
    let config_of = |python| TorchConfig {
        python,
        threads: Some(1),
        ..kept()
    };
    let mut again =
        TorchEngine::new(found.draft, Freeze::EMBEDDING, config_of(python().unwrap())).unwrap();
    let (_, again) = run(&mut again, &config, found.state);
    close("resumed losses", &again.losses, &whole.losses, 1e-6);
    // The same checkpoint serves the other engine.
    let found = resume();
    let mut trainer = Trainer::new(&found.draft, &Device::flex(), Freeze::EMBEDDING).unwrap();
    let (_, here) = run(&mut trainer, &config, found.state);
    close("losses of Burn", &here.losses, &whole.losses, 1e-3);
}

#[test]
fn the_observer_ends_a_stage_and_another_engine_goes_on() {
    let Some(python) = python() else {
        return;
    };
    let config = stage(Loss::CrossEntropy, 12);
    let (_, expected) = run(&mut burn(), &config, StageState::default());
    let (text, answers) = (corpus(), taught());
    let sources: [Source<'_>; 2] = [(&text, 2).into(), (answers.packed(), 1).into()];
    let mut held = None;
    let mut trainer = burn();
    let state = trainer
        .run_stage(&config, &sources, StageState::default(), &mut |step| {
            Ok(if step.state.step == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })
        .unwrap();
    let first = trainer.checkpoint().unwrap();
    let mut torch =
        TorchEngine::new(first, Freeze::EMBEDDING, TorchConfig { python, ..ranks(1) }).unwrap();
    let state = torch
        .run_stage(&config, &sources, state, &mut |step| {
            Ok(if step.state.step == 8 {
                held = Some(step.checkpoint()?);
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })
        .unwrap();
    assert_eq!((state.step, state.losses.len()), (8, 8));
    assert_eq!(held.unwrap(), torch.checkpoint().unwrap());
    let mut trainer = Trainer::new(
        &torch.checkpoint().unwrap(),
        &Device::flex(),
        Freeze::EMBEDDING,
    )
    .unwrap();
    let (_, state) = run(&mut trainer, &config, state);
    close("losses", &state.losses, &expected.losses, 1e-3);
}

/// Two machines that share a folder, both of them this one.
#[test]
fn a_second_machine_joins_and_products_can_be_bfloat16() {
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port();
    let Some(mut torch) = worker(TorchConfig {
        folder: Some(dir.path().to_path_buf()),
        nodes: Some(Nodes {
            count: 2,
            address: "127.0.0.1".into(),
            port,
        }),
        ..ranks(1)
    }) else {
        return;
    };
    let run_folder = dir.path().join("FT");
    let second = std::thread::spawn(move || {
        while !run_folder.join("stage.json").exists() || !run_folder.join("worker.log").exists() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Command::new(python().unwrap())
            .args(["-m", "torch.distributed.run", "--nnodes=2", "--node-rank=1"])
            .args(["--nproc-per-node=1", "--master-addr=127.0.0.1"])
            .arg(format!("--master-port={port}"))
            .arg(run_folder.join("worker/main.py"))
            .arg(run_folder)
            .env("OMP_NUM_THREADS", "1")
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap()
    });
    let config = stage(Loss::CrossEntropyKl, 10);
    let lower = StageConfig {
        precision: Precision::Bfloat16,
        ..config.clone()
    };
    let (seen, _) = run(&mut torch, &lower, StageState::default());
    let output = second.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("rank 1 of 2: pid "), "{said}");
    let (expected, _) = run(&mut burn(), &config, StageState::default());
    let apart: Vec<f32> = (expected.iter().zip(&seen))
        .map(|(a, b)| (a[0] - b[0]).abs())
        .collect();
    // Eight bits of a product's mantissa, not float32 and not another model.
    assert!(apart.iter().all(|apart| *apart < 2e-2), "{apart:?}");
    assert!(apart.iter().any(|apart| *apart > 1e-5), "{apart:?}");
}

#[test]
fn damaged_rows_and_diverging_losses_end_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_path_buf();
    let Some(mut torch) = worker(TorchConfig {
        folder: Some(folder.clone()),
        ..ranks(2)
    }) else {
        return;
    };
    let many = torch_common::many_rows();
    let config = stage(Loss::CrossEntropy, 4000);
    let mut damage = |step: &Step<'_>| {
        if step.state.step == 1 {
            let path = folder.join("FT/data/0/shard-00000.fds");
            let mut bytes = fs::read(&path).unwrap();
            bytes[128..]
                .iter_mut()
                .step_by(512)
                .for_each(|byte| *byte ^= 1);
            // In place: the ranks have the file mapped.
            fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .and_then(|mut file| std::io::Write::write_all(&mut file, &bytes))
                .unwrap();
        }
        Ok(ControlFlow::Continue(()))
    };
    let state = StageState::default();
    let error = torch
        .run_stage(&config, &[(&many, 1).into()], state, &mut damage)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is damaged") && error.contains("shard-00000"),
        "{error}"
    );
    assert!(error.contains("in read_block"), "{error}");

    let wild = StageConfig {
        clip: f32::INFINITY,
        schedule: fastdraft_train::optim::schedule::Schedule::cosine(1e38),
        ..stage(Loss::CrossEntropy, 50)
    };
    let text = corpus();
    let error = torch
        .run_stage(
            &wild,
            &[(&text, 1).into()],
            StageState::default(),
            &mut |_| Ok(ControlFlow::Continue(())),
        )
        .unwrap_err();
    assert!(
        matches!(error, TrainError::Diverged { step: 1.., .. }),
        "{error}"
    );
}

#[test]
fn what_cannot_start_says_why() {
    let Some(mut torch) = worker(ranks(6)) else {
        return;
    };
    let text = corpus();
    let error = torch
        .run_stage(
            &stage(Loss::CrossEntropy, 1),
            &[(&text, 1).into()],
            StageState::default(),
            &mut |_| Ok(ControlFlow::Continue(())),
        )
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("5 rows a step, too few for 6 ranks"),
        "{error}"
    );
    assert!(TorchEngine::new(draft(), Freeze::EMBEDDING, ranks(0)).is_err());
    let start = |python: &Path| {
        let config = TorchConfig {
            python: python.to_owned(),
            ..ranks(1)
        };
        TorchEngine::new(draft(), Freeze::EMBEDDING, config)
            .unwrap_err()
            .to_string()
    };
    let error = start(Path::new("/nowhere/python3"));
    assert!(
        error.contains("/nowhere/python3: cannot be started"),
        "{error}"
    );
    // The same interpreter without its packages.
    let dir = tempfile::tempdir().unwrap();
    let bare = dir.path().join("python");
    let script = format!(
        "#!/bin/sh\nexec {} -S \"$@\"\n",
        python().unwrap().display()
    );
    fs::write(&bare, script).unwrap();
    assert!(
        Command::new("chmod")
            .arg("+x")
            .arg(&bare)
            .status()
            .unwrap()
            .success()
    );
    let error = start(&bare);
    assert!(error.contains("lacks torch"), "{error}");
    assert!(
        error.contains("pip install torch numpy safetensors"),
        "{error}"
    );
}

#[test]
fn the_parts_of_the_worker_alone() {
    let Some(python) = python() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut cases = Vec::new();
    for (rows, weights, batch, seed) in [
        (vec![100, 50], vec![2u32, 1], 7, 42u64),
        (vec![1, 3, 1000], vec![1, 0, 5], 32, u64::MAX),
        (vec![65_537], vec![1], 64, 0x9e37_79b9_7f4a_7c15),
    ] {
        let loader = MixtureLoader::new(&rows, &weights, batch, seed).unwrap();
        let steps: Vec<_> = (0..40)
            .chain([10_000, 123_456_789])
            .map(|step| (step, loader.batch(step)))
            .collect();
        cases.push(serde_json::json!({
            "rows": rows, "weights": weights, "batch": batch, "seed": seed, "steps": steps,
        }));
    }
    let write = |name: &str, value: &serde_json::Value| {
        fs::write(dir.path().join(name), value.to_string()).unwrap();
    };
    write("order.json", &cases.into());
    let (text, folder) = (corpus(), dir.path().join("shards"));
    let spec = ShardSpec {
        rows_per_block: 3,
        ..ShardSpec::new(SEQ, VOCABULARY as usize, 0xfeed)
    };
    fs::create_dir(&folder).unwrap();
    write_set(&folder, spec, &text, 40).unwrap();
    let rows: Vec<_> = (0..text.rows()).map(|row| text.row(row)).collect();
    write(
        "shards.json",
        &serde_json::json!({
            "fingerprint": "000000000000feed", "vocabulary": VOCABULARY, "rows": rows,
        }),
    );
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python)
        .arg("-B")
        .arg(here.join("tests/worker/test_worker.py"))
        .arg(here.join("src/torch/worker"))
        .arg(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Ran 22 tests"), "{said}");
}
