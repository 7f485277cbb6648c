//! A stage that is interrupted and goes on.

use std::{fs, ops::ControlFlow, path::Path};

use burn::tensor::Device;
use fastdraft_data::{PackedTokens, Packer};
use fastdraft_model::{Checkpoint, DecoderConfig, draft::init};
use fastdraft_train::{
    TrainError,
    checkpoint::CheckpointFolder,
    optim::AdamWConfig,
    stage::{Budget, Freeze, StageConfig, StageState, Step, Trainer},
};

fn corpus() -> PackedTokens {
    let mut packer = Packer::new(16, 0);
    for start in 1..60u32 {
        let document: Vec<u32> = (0..20).map(|i| (start * (i + 3)) % 61).collect();
        packer.push_document(&document);
    }
    packer.finish().unwrap()
}

fn config() -> StageConfig {
    StageConfig {
        name: "PT".into(),
        budget: Budget::Steps(14),
        batch: 4,
        ..StageConfig::default()
    }
}

fn draft() -> Checkpoint {
    init::random(DecoderConfig::llama(61, 32, 2), None, 9).unwrap()
}

/// Runs on from a state, saves every third step and stops after `stop`.
fn run(
    draft: &Checkpoint,
    state: StageState,
    folder: &CheckpointFolder,
    stop: usize,
) -> (Checkpoint, Vec<f32>) {
    run_as(&config(), draft, state, folder, stop)
}

fn run_as(
    config: &StageConfig,
    draft: &Checkpoint,
    state: StageState,
    folder: &CheckpointFolder,
    stop: usize,
) -> (Checkpoint, Vec<f32>) {
    let mut trainer = Trainer::new(draft, &Device::flex(), Freeze::NONE).unwrap();
    let mut observe = |step: &Step<'_>| {
        if step.state.step.is_multiple_of(3) {
            folder.save("PT", step)?;
        }
        Ok(if step.state.step == stop {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    };
    let state = trainer
        .run_from(config, &[(&corpus(), 1)], state, &mut observe)
        .unwrap();
    (trainer.checkpoint().unwrap(), state.losses)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn going_on_gives_the_same_losses_and_weights_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let whole = CheckpointFolder::new(dir.path().join("whole"), "seed = 1", 2);
    let (expected, losses) = run(&draft(), StageState::default(), &whole, 99);
    assert_eq!(
        names(&dir.path().join("whole")),
        ["step-0000000009", "step-0000000012"]
    );
    let cut = CheckpointFolder::new(dir.path().join("cut"), "seed = 1", 2);
    assert!(cut.resume(AdamWConfig::default()).unwrap().is_none());
    // Two steps after the last checkpoint are lost and taken again.
    run(&draft(), StageState::default(), &cut, 8);
    // What a kill in the middle of a save leaves behind.
    fs::create_dir(dir.path().join("cut/.checkpointXYZ")).unwrap();
    let resumed = cut.resume(AdamWConfig::default()).unwrap().unwrap();
    assert_eq!((resumed.stage.as_str(), resumed.state.step), ("PT", 6));
    let (again, losses_again) = run(&resumed.draft, resumed.state, &cut, 99);
    assert_eq!(losses_again, losses);
    assert_eq!(again, expected);
}

#[test]
fn accumulated_steps_go_on_to_the_bit_too() {
    let dir = tempfile::tempdir().unwrap();
    let folder = CheckpointFolder::new(dir.path(), "accumulation = 3", 2);
    let config = StageConfig {
        accumulation: 3,
        gradient_checkpointing: true,
        ..config()
    };
    let begin = StageState::default;
    let (expected, losses) = run_as(&config, &draft(), begin(), &folder, 99);
    fs::remove_dir_all(dir.path().join("step-0000000012")).unwrap();
    let resumed = folder.resume(AdamWConfig::default()).unwrap().unwrap();
    assert_eq!((resumed.state.step, resumed.state.tokens), (9, 9 * 12 * 16));
    let (again, losses_again) = run_as(&config, &resumed.draft, resumed.state, &folder, 99);
    assert_eq!(losses_again, losses);
    assert_eq!(again, expected);
    // Nothing is computed otherwise when all is kept.
    let kept = StageConfig {
        gradient_checkpointing: false,
        ..config
    };
    assert_eq!(run_as(&kept, &draft(), begin(), &folder, 99).1, losses);
}

#[test]
fn another_recipe_is_refused_with_the_difference() {
    let dir = tempfile::tempdir().unwrap();
    let folder = CheckpointFolder::new(dir.path(), "seed = 1\nbatch = 4", 1);
    run(&draft(), StageState::default(), &folder, 3);
    let changed = CheckpointFolder::new(dir.path(), "seed = 1\nbatch = 8", 1);
    let error = changed.resume(AdamWConfig::default()).unwrap_err();
    assert!(matches!(error, TrainError::RecipeChanged { .. }));
    let message = error.to_string();
    assert!(message.contains("- batch = 4\n+ batch = 8"), "{message}");
}
