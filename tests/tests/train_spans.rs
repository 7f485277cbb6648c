//! What a subscriber of `tracing` sees of a stage.

use std::{
    fmt,
    ops::ControlFlow,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use burn::tensor::Device;
use fastdraft_data::Packer;
use fastdraft_model::{DecoderConfig, draft::init};
use fastdraft_train::{
    checkpoint::CheckpointFolder,
    stage::{Budget, Freeze, StageConfig, StageState, Trainer},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// Writes down every span as its name and its fields.
#[derive(Default)]
struct Spans {
    seen: Arc<Mutex<Vec<String>>>,
    next: AtomicU64,
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("fastdraft_train")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut text = Text(span.metadata().name().to_owned());
        span.record(&mut text);
        self.seen.lock().unwrap().push(text.0);
        Id::from_u64(1 + self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn stages_steps_and_checkpoints_are_spans() {
    let mut packer = Packer::new(8, 0);
    packer.push_document(&(0..200).map(|i| i * 7 % 31).collect::<Vec<u32>>());
    let text = packer.finish().unwrap();
    let draft = init::random(DecoderConfig::llama(31, 32, 1), None, 1).unwrap();
    let mut trainer = Trainer::new(&draft, &Device::flex(), Freeze::NONE).unwrap();
    let config = StageConfig {
        name: "CP".into(),
        budget: Budget::Steps(2),
        batch: 2,
        ..StageConfig::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let folder = CheckpointFolder::new(dir.path(), "", 1);
    let spans = Spans::default();
    let seen = Arc::clone(&spans.seen);
    // Each test of this file would need a program of its own.
    tracing::subscriber::set_global_default(spans).unwrap();
    let mut save = |step: &fastdraft_train::stage::Step<'_>| {
        folder.save("CP", step)?;
        Ok(ControlFlow::Continue(()))
    };
    let state = StageState::default();
    trainer
        .run_from(&config, &[(&text, 1)], state, &mut save)
        .unwrap();
    assert_eq!(
        *seen.lock().unwrap(),
        [
            "stage name=\"CP\"",
            "step step=0",
            "checkpoint stage=\"CP\" step=1",
            "step step=1",
            "checkpoint stage=\"CP\" step=2",
        ]
    );
}
