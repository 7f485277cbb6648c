//! Answers that are neither lost nor doubled, however a run ends.
#![allow(clippy::unwrap_used)]

mod common;

use std::cell::Cell;
use std::collections::HashSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use common::{END, HELLO, tokenizer};
use fastdraft_data::answers::read_answers;
use fastdraft_data::generate::{Failed, Generated, Generation, Summary, errors_path, generate};
use fastdraft_data::source::{Prompt, read_jsonl};
use fastdraft_data::teacher::{Reply, Request, Sampling, Sink, StopReason, Teacher, TeacherError};
use fastdraft_data::{DataError, Provenance, Tokenizer};
use proptest::prelude::*;

/// Answers in reverse order, some twice, some not at all, some with errors; stops after a while.
#[derive(Default)]
struct Odd {
    asked: Cell<usize>,
    fatal_after: Option<usize>,
}

impl Teacher for Odd {
    fn answer(&self, requests: &[Request], sink: &mut Sink<'_>) {
        for (index, request) in requests.iter().enumerate().rev() {
            self.asked.set(self.asked.get() + 1);
            let error = |reason: &str, fatal| TeacherError {
                reason: reason.into(),
                attempts: 3,
                fatal,
            };
            let fatal = self
                .fatal_after
                .is_some_and(|after| self.asked.get() > after);
            let result = match request.id.as_str() {
                _ if fatal => Err(error("no such model", true)),
                id if id.ends_with("silent") => continue,
                id if id.ends_with("bad") => Err(error("nonsense", false)),
                id => Ok(Reply {
                    text: if id.ends_with("empty") {
                        String::new()
                    } else {
                        "hello".into()
                    },
                    stop: StopReason::Stop,
                    prompt_ids: None,
                    answer_ids: None,
                }),
            };
            for result in [result.clone(), result] {
                if sink(index, result) == ControlFlow::Break(()) {
                    return;
                }
            }
        }
        assert_eq!(
            sink(
                requests.len(),
                Err(TeacherError {
                    reason: String::new(),
                    attempts: 0,
                    fatal: false,
                })
            ),
            ControlFlow::Continue(())
        );
    }
}

fn prompts(names: &[&str]) -> Vec<Prompt> {
    let prompt = |name: &&str| Prompt {
        id: (*name).into(),
        task: "test".into(),
        prompt: format!("say {name}"),
    };
    names.iter().map(prompt).collect()
}

fn generation(tokenizer: &Tokenizer) -> Generation<'_> {
    Generation {
        tokenizer,
        template: None,
        system: None,
        settings: vec![Sampling::greedy(9), Sampling::at(0.8, 9)],
        provenance: Provenance::default(),
    }
}

fn run(teacher: &Odd, names: &[&str], path: &Path) -> Result<Summary, DataError> {
    generate(teacher, &prompts(names), &generation(&tokenizer()), path)
}

#[test]
fn everything_is_accounted_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let names = ["a", "b-bad", "c-silent", "d", "e-empty"];
    let summary = run(&Odd::default(), &names, &path).unwrap();
    assert_eq!(
        summary.to_string(),
        "input 10 = done 4 + failed 6 + skipped 0"
    );
    let rows: Vec<Generated> = read_jsonl(&path).unwrap();
    assert_eq!(rows.len(), 4);
    let row = &rows[0];
    assert_eq!(
        (row.setting.as_str(), row.stop, row.exact),
        ("t0.8", StopReason::Stop, false)
    );
    assert_eq!(row.answer.answer_ids, [HELLO, END]);
    assert_eq!(row.answer.temperature, 0.8);
    assert_eq!(read_answers(&path).unwrap()[0], row.answer);
    let failures: Vec<Failed> = read_jsonl(errors_path(&path)).unwrap();
    let reasons: HashSet<_> = failures
        .iter()
        .map(|failed| failed.reason.as_str())
        .collect();
    let expected = [
        "nonsense",
        "the teacher gave no reply",
        "0 tokens, at least 1 wanted",
    ];
    assert_eq!(reasons, expected.into());

    let again = Odd::default();
    let summary = run(&again, &names, &path).unwrap();
    assert_eq!(
        summary.to_string(),
        "input 10 = done 0 + failed 6 + skipped 4"
    );
    assert_eq!(again.asked.get(), 6);
    assert_eq!(read_jsonl::<Generated>(&path).unwrap(), rows);
}

#[test]
fn a_fatal_error_keeps_what_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let teacher = Odd {
        fatal_after: Some(3),
        ..Odd::default()
    };
    let error = run(&teacher, &["a", "b", "c"], &path)
        .unwrap_err()
        .to_string();
    assert_eq!(error, "generation: no such model (attempts: 3)");
    assert_eq!(read_answers(&path).unwrap().len(), 3);
    let summary = run(&Odd::default(), &["a", "b", "c"], &path).unwrap();
    assert_eq!((summary.done, summary.skipped), (3, 3));
}

#[test]
fn doubled_names_settings_and_rows_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    assert!(run(&Odd::default(), &["a", "a"], &path).is_err());
    let tokenizer = tokenizer();
    let mut twice = generation(&tokenizer);
    twice.settings[1] = Sampling::greedy(3);
    assert!(generate(&Odd::default(), &prompts(&["a"]), &twice, &path).is_err());
    run(&Odd::default(), &["a"], &path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.repeat(2)).unwrap();
    let error = run(&Odd::default(), &["a"], &path).unwrap_err().to_string();
    assert!(
        error.contains("answers.jsonl:3: this row is there already"),
        "{error}"
    );
    fs::write(&path, "{}\n").unwrap();
    assert!(run(&Odd::default(), &["a"], &path).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n");
}

#[test]
fn two_runs_do_not_share_a_file() {
    struct Nested(std::path::PathBuf);
    impl Teacher for Nested {
        fn answer(&self, _: &[Request], _: &mut Sink<'_>) {
            let error = run(&Odd::default(), &["a"], &self.0)
                .unwrap_err()
                .to_string();
            assert!(error.contains("another run is writing to"), "{error}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let nested = Nested(path.clone());
    generate(&nested, &prompts(&["a"]), &generation(&tokenizer()), &path).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_file_cut_anywhere_is_completed(share in 0.0f64..=1.0) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.jsonl");
        let names = ["a", "b", "c"];
        run(&Odd::default(), &names, &path).unwrap();
        let good = fs::read(&path).unwrap();
        fs::write(&path, &good[..(good.len() as f64 * share) as usize]).unwrap();
        let summary = run(&Odd::default(), &names, &path).unwrap();
        prop_assert_eq!((summary.failed, summary.done + summary.skipped), (0, 6));
        let rows: Vec<Generated> = read_jsonl(&path).unwrap();
        let keys: HashSet<_> = rows.iter().map(|row| (&row.answer.id, &row.setting)).collect();
        prop_assert_eq!((rows.len(), keys.len()), (6, 6));
    }

    #[test]
    fn any_bytes_in_the_file_are_an_error_or_cut(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.jsonl");
        fs::write(&path, &bytes).unwrap();
        if run(&Odd::default(), &["a"], &path).is_ok() {
            prop_assert_eq!(read_answers(&path).unwrap().len(), 2);
        }
    }
}
