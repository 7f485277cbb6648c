//! Instructions that a teacher makes up, from the template to the file.
#![allow(clippy::unwrap_used)]

mod common;

use std::cell::Cell;
use std::ops::ControlFlow;

use common::tokenizer;
use fastdraft_data::card::{DatasetKind, card_path};
use fastdraft_data::decontaminate::Decontaminator;
use fastdraft_data::generate::{Failed, Generation, Summary, errors_path, generate};
use fastdraft_data::instruct::{PreQuery, SelfInstruction, instruct};
use fastdraft_data::source::{Prompt, read_jsonl, read_prompts};
use fastdraft_data::teacher::{Reply, Request, Sampling, Sink, StopReason, Teacher, TeacherError};
use fastdraft_data::{ChatTemplate, DataCard, DataError, Provenance};

const TEMPLATE: &str = "{% for m in messages %}{{ '<|user|>' if m.role == 'user' else '<|assistant|>' }}\
    {{ m.content | trim }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(source, None, None).unwrap()
}

#[test]
fn the_text_around_a_users_turn() {
    let tokenizer = tokenizer();
    let find = |source: &str, system| PreQuery::find(&template(source), &tokenizer, system);
    let around = find(TEMPLATE, None).unwrap();
    assert_eq!(
        (around.prefix.as_str(), around.end.as_str()),
        ("<|user|>", "<|end|>")
    );
    let llama = "{% if messages[0].role == 'system' %}<<{{ messages[0].content }}>>{% endif %}\
                 [INST] {{ messages[-1].content }} [/INST]";
    let around = find(llama, Some("be kind")).unwrap();
    assert_eq!(
        (around.prefix.as_str(), around.end.as_str()),
        ("<<be kind>>[INST] ", "[/INST]")
    );
    // Only the generation prompt follows.
    let open = "U: {{ messages[0].content }}{% if add_generation_prompt %}\nA:{% endif %}";
    assert_eq!(find(open, None).unwrap().end, "A:");
    for bad in [
        "",
        "{{ messages[0].content }}{{ messages[0].content }}",
        "U: {{ messages[0].content }}",
        "{{ messages[0].content | upper }} x",
        "{{ messages[0].content | length }} {{ messages[0].content }} x",
    ] {
        let error = find(bad, None).unwrap_err();
        assert!(
            matches!(error, DataError::Template { .. }),
            "{bad}: {error}"
        );
    }
}

/// Makes instructions up from the number in the request's name.
#[derive(Default)]
struct Inventor {
    asked: Cell<usize>,
    stop_after: Option<usize>,
    backwards: bool,
}

fn say(index: usize) -> Result<Reply, TeacherError> {
    let (text, stop) = match index % 10 {
        0 => ("hi".into(), StopReason::Stop),
        1 => (
            format!("Write a long poem about {index} rivers"),
            StopReason::Length,
        ),
        2 => (
            "Write the very same poem every time".into(),
            StopReason::Stop,
        ),
        3 => (
            format!("WRITE the very, same poem every time{}", "!".repeat(index)),
            StopReason::Stop,
        ),
        4 => (
            format!("Say <|user|> to number {index} please"),
            StopReason::Stop,
        ),
        5 => (
            format!("Please explain the secret question number {index}"),
            StopReason::Stop,
        ),
        6 => {
            return Err(TeacherError {
                reason: "tired".into(),
                attempts: 2,
                fatal: false,
            });
        }
        7 => (
            format!("  Tell me about item {index} <|end|> and more"),
            StopReason::Other,
        ),
        _ => (
            format!("  Tell me about thing {index} of {index}\n"),
            StopReason::Stop,
        ),
    };
    Ok(Reply {
        text,
        stop,
        prompt_ids: None,
        answer_ids: None,
    })
}

impl Teacher for Inventor {
    fn answer(&self, requests: &[Request], sink: &mut Sink<'_>) {
        let mut order: Vec<usize> = (0..requests.len()).collect();
        if self.backwards {
            order.reverse();
        }
        for at in order {
            let request = &requests[at];
            assert_eq!(request.text, "<|user|>");
            assert_eq!(
                (request.messages.len(), request.stop.as_slice()),
                (0, &["<|end|>".to_owned()][..])
            );
            let (task, index) = request.id.rsplit_once('-').unwrap();
            assert_eq!(task, "self-instruct");
            self.asked.set(self.asked.get() + 1);
            let result = if self
                .stop_after
                .is_some_and(|after| self.asked.get() > after)
            {
                Err(TeacherError {
                    reason: "gone".into(),
                    attempts: 1,
                    fatal: true,
                })
            } else {
                say(index.parse().unwrap())
            };
            if sink(at, result).is_break() {
                return;
            }
        }
    }
}

fn run(teacher: &Inventor, path: &std::path::Path) -> Result<Summary, DataError> {
    let (tokenizer, template) = (tokenizer(), template(TEMPLATE));
    let mut filter = Decontaminator::new(3);
    filter.add("the secret question");
    let wanted = SelfInstruction {
        evaluation: Some(&filter),
        ..SelfInstruction::new(&tokenizer, &template, 40)
    };
    instruct(teacher, &wanted, path)
}

#[test]
fn what_is_kept_and_what_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("instructions.jsonl");
    let summary = run(&Inventor::default(), &path).unwrap();
    // 7, 8, 9 of each ten and the first 2.
    assert_eq!(
        summary.to_string(),
        "input 40 = done 13 + failed 27 + skipped 0"
    );
    let prompts = read_prompts(&path).unwrap();
    assert_eq!(prompts[0].prompt, "Write the very same poem every time");
    assert_eq!(prompts[1].id, "self-instruct-000007");
    assert_eq!(prompts[1].prompt, "Tell me about item 7");
    assert_eq!(prompts[2].prompt, "Tell me about thing 8 of 8");
    let failures: Vec<Failed> = read_jsonl(errors_path(&path)).unwrap();
    let count = |part: &str| failures.iter().filter(|f| f.reason.contains(part)).count();
    for (part, expected) in [
        ("2 characters, wanted 8 to 2000", 4),
        ("did not end", 4),
        ("asked before in nearly", 4),
        ("the special token `<|user|>`", 4),
        ("evaluation", 4),
        ("tired", 4),
    ] {
        assert_eq!(count(part), expected, "{part}");
    }
    assert_eq!(count("asked before"), 7);
    let card = DataCard::read(card_path(&path)).unwrap();
    assert_eq!(
        (card.kind, card.counts.documents),
        (DatasetKind::Instructions, 13)
    );
    assert_eq!(card.provenance.hygiene.contaminated, 4);
    card.verify(folder.path()).unwrap();
}

#[test]
fn order_and_interruption_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    run(&Inventor::default(), &at("a.jsonl")).unwrap();
    let expected = std::fs::read(at("a.jsonl")).unwrap();
    let backwards = Inventor {
        backwards: true,
        ..Inventor::default()
    };
    run(&backwards, &at("b.jsonl")).unwrap();
    assert_eq!(std::fs::read(at("b.jsonl")).unwrap(), expected);
    let broken = Inventor {
        stop_after: Some(21),
        ..Inventor::default()
    };
    let error = run(&broken, &at("c.jsonl")).unwrap_err();
    assert_eq!(error.to_string(), "generation: gone (attempts: 1)");
    assert!(!card_path(&at("c.jsonl")).exists());
    let half = std::fs::read(at("c.jsonl")).unwrap();
    assert!(expected.starts_with(&half) && !half.is_empty());
    std::fs::write(at("c.jsonl"), &half[..half.len() - 5]).unwrap();
    let summary = run(&Inventor::default(), &at("c.jsonl")).unwrap();
    assert_eq!((summary.done + summary.skipped, summary.failed), (13, 27));
    let sorted = |path: &str| {
        let mut rows = read_prompts(at(path)).unwrap();
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        rows
    };
    assert_eq!(sorted("c.jsonl"), sorted("a.jsonl"));
}

#[test]
fn greedy_instructions_are_an_error_and_answers_follow() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("instructions.jsonl");
    let (tokenizer, template) = (tokenizer(), template(TEMPLATE));
    let greedy = SelfInstruction {
        sampling: Sampling::greedy(9),
        ..SelfInstruction::new(&tokenizer, &template, 4)
    };
    assert!(instruct(&Inventor::default(), &greedy, &path).is_err());
    run(&Inventor::default(), &path).unwrap();

    struct Echo;
    impl Teacher for Echo {
        fn answer(&self, requests: &[Request], sink: &mut Sink<'_>) {
            for (index, request) in requests.iter().enumerate() {
                let reply = Reply {
                    text: request.messages[0].content.clone(),
                    stop: StopReason::Stop,
                    prompt_ids: None,
                    answer_ids: None,
                };
                assert_eq!(sink(index, Ok(reply)), ControlFlow::Continue(()));
            }
        }
    }
    let prompts: Vec<Prompt> = read_prompts(&path).unwrap();
    let generation = Generation {
        tokenizer: &tokenizer,
        template: Some(&template),
        system: None,
        settings: vec![Sampling::greedy(50)],
        provenance: Provenance::default(),
    };
    let answers = folder.path().join("answers.jsonl");
    let summary = generate(&Echo, &prompts, &generation, &answers).unwrap();
    assert_eq!((summary.input, summary.done), (13, 13));
}
