//! Data cards beside every dataset.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::ops::ControlFlow;

use common::tokenizer;
use fastdraft_data::card::{DatasetKind, card_path};
use fastdraft_data::decontaminate::Decontaminator;
use fastdraft_data::generate::{Generation, generate};
use fastdraft_data::hygiene::{Cleaner, DuplicateConfig};
use fastdraft_data::shard::{ShardSetWriter, ShardSpec};
use fastdraft_data::source::encode::encode;
use fastdraft_data::source::{Document, Prompt, documents, write_jsonl};
use fastdraft_data::teacher::{Reply, Request, Sampling, Sink, StopReason, Teacher, TeacherError};
use fastdraft_data::{DataCard, DataError, Packer, Provenance, SourceCard};

#[test]
fn a_folder_of_shards() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = folder.path().join("corpus|1.jsonl");
    let text = |i: usize| match i {
        3 => "hello number 2 is here".into(),
        4 => "Hello, number 2 is here!".into(),
        5 => "the quick brown fox".into(),
        i => format!("hello number {i} is here"),
    };
    let rows = (0..9).map(|i| Document {
        id: i.to_string(),
        text: text(i),
    });
    write_jsonl(&corpus, rows).unwrap();
    let out = folder.path().join("shards");
    fs::create_dir(&out).unwrap();

    let tokenizer = tokenizer();
    let mut filter = Decontaminator::new(3);
    filter.add("a quick brown fox");
    let mut cleaner = Cleaner::new(Some(DuplicateConfig::default()), Some(&filter));
    let mut source = SourceCard::of_file(&corpus, Some("CC0-1.0")).unwrap();
    let mut writer =
        ShardSetWriter::create(&out, ShardSpec::for_tokenizer(16, &tokenizer), 3).unwrap();
    let mut packer = Packer::new(16, 262);
    for document in encode(
        cleaner.clean(documents(&corpus, "text").unwrap()),
        &tokenizer,
    ) {
        let document = document.unwrap();
        source.documents += 1;
        source.tokens += document.ids.len() as u64;
        packer.push_document(&document.ids);
        writer.push(&packer.take_rows()).unwrap();
    }
    writer.push(&packer.into_rest()).unwrap();
    writer.set_provenance(Provenance {
        name: "test corpus".into(),
        sources: vec![source.clone()],
        seed: Some(7),
        hygiene: cleaner.counts(),
        notes: vec!["a <b> `c`\n# d".into()],
    });
    let index = writer.finish().unwrap();

    let card = DataCard::read(card_path(&out)).unwrap();
    assert_eq!(card.kind, DatasetKind::Shards);
    let hygiene = card.provenance.hygiene;
    assert_eq!((hygiene.input, hygiene.kept), (9, 6));
    assert_eq!(
        (
            hygiene.exact_duplicates,
            hygiene.near_duplicates,
            hygiene.contaminated
        ),
        (1, 1, 1)
    );
    assert_eq!((card.counts.documents, card.counts.rows), (6, index.rows));
    assert_eq!(card.counts.tokens + card.counts.padding, index.rows * 17);
    assert_eq!(card.provenance.sources, [source]);
    assert_eq!(
        card.tokenizer.fingerprint,
        format!("{:016x}", tokenizer.fingerprint())
    );
    assert_eq!(card.files.len(), index.shards.len());
    card.verify(&out).unwrap();

    let text = fs::read_to_string(out.join("card.md")).unwrap();
    assert_eq!(text, card.markdown());
    for part in [
        "corpus\\|1.jsonl",
        "CC0-1.0",
        "a \\<b> \\`c\\` # d",
        &card.files[0].sha256,
        "Seed: 7",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }

    let shard = out.join(&card.files[0].name);
    let mut bytes = fs::read(&shard).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&shard, bytes).unwrap();
    let error = card.verify(&out).unwrap_err();
    assert!(matches!(error, DataError::CardMismatch { .. }), "{error}");
}

struct Some3;

impl Teacher for Some3 {
    fn answer(&self, requests: &[Request], sink: &mut Sink<'_>) {
        for (index, request) in requests.iter().enumerate() {
            let result = if request.id == "2" {
                Err(TeacherError {
                    reason: "no".into(),
                    attempts: 1,
                    fatal: false,
                })
            } else {
                Ok(Reply {
                    text: "abc".into(),
                    stop: StopReason::Length,
                    prompt_ids: Some(vec![1, 2]),
                    answer_ids: Some(vec![3, 4, 5]),
                })
            };
            if sink(index, result) == ControlFlow::Break(()) {
                return;
            }
        }
    }
}

#[test]
fn a_file_of_answers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let tokenizer = tokenizer();
    let prompt = |i: usize| Prompt {
        id: i.to_string(),
        task: "t".into(),
        prompt: "hello".into(),
    };
    let generation = Generation {
        tokenizer: &tokenizer,
        template: None,
        system: None,
        settings: vec![Sampling {
            seed: Some(3),
            ..Sampling::at(0.8, 4)
        }],
        provenance: Provenance::default(),
    };
    let prompts: Vec<Prompt> = (0..4).map(prompt).collect();
    generate(&Some3, &prompts[..3], &generation, &path).unwrap();
    generate(&Some3, &prompts, &generation, &path).unwrap();
    let card = DataCard::read(card_path(&path)).unwrap();
    assert_eq!(card_path(&path), folder.path().join("answers.card.json"));
    assert_eq!(
        (card.kind, card.counts.documents),
        (DatasetKind::Answers, 3)
    );
    assert_eq!((card.counts.tokens, card.counts.trained), (15, 9));
    assert_eq!(
        card.provenance.notes[0],
        "setting t0.8: 1 to 4 tokens, seed 3"
    );
    assert_eq!(
        card.provenance.notes[1],
        "last run: input 4 = done 1 + failed 1 + skipped 2"
    );
    assert_eq!(card.provenance.sources[0].documents, 4);
    card.verify(folder.path()).unwrap();
    fs::write(&path, "").unwrap();
    assert!(card.verify(folder.path()).is_err());

    // A run that fails leaves no card that would be wrong.
    let twice = [prompts[0].clone(), prompts[0].clone()];
    assert!(generate(&Some3, &twice, &generation, &path).is_err());
    assert!(card_path(&path).exists());
    fs::write(&path, "{}\n").unwrap();
    assert!(generate(&Some3, &prompts, &generation, &path).is_err());
    fs::write(card_path(&path), "{\"format\": 1}").unwrap();
    let error = DataCard::read(card_path(&path)).unwrap_err();
    assert!(matches!(error, DataError::CardFormat { .. }), "{error}");
}
