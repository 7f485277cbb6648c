//! A teacher in this process says what its target would say alone.
#![cfg(feature = "specdec")]
#![allow(clippy::unwrap_used)]

mod common;

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{END, HELLO, SPACE_HELLO, USER, tokenizer};
use fastdraft_data::generate::{Generation, Summary, generate};
use fastdraft_data::source::Prompt;
use fastdraft_data::teacher::{
    Reply, Request, Sampling, StopReason, TargetTeacher, Teacher, TeacherError,
};
use fastdraft_data::{Provenance, Tokenizer};
use fastdraft_specdec::batch::{BatchItem, BatchTarget, Separate};
use fastdraft_specdec::mock::{MockDraft, MockTarget, Table};
use fastdraft_specdec::{
    LogitRows, SessionConfig, Stop, Target, Transform, Vocabulary, generate as speculate,
    generate_plain,
};

const VOCABULARY: usize = 266;

/// Prefers a handful of tokens, the end among them, so that answers end at different lengths.
fn table() -> Table {
    let mut table = Table::new(VOCABULARY, 1, 11);
    let frequent = [HELLO, SPACE_HELLO, END, 97, 98, 99, 32];
    for last in 0..VOCABULARY as u32 {
        let mut row: Vec<f32> = (0..VOCABULARY as u32)
            .map(|token| table.logit(&[last], token) - 6.0)
            .collect();
        for &token in &frequent {
            row[token as usize] += if token == END { 9.0 } else { 11.0 };
        }
        table = table.with_row(&[last], &row);
    }
    table
}

fn request(index: usize, sampling: Sampling) -> Request {
    let ids: Vec<u32> = (0..index as u32 % 5 + 1)
        .map(|i| i * 31 + index as u32)
        .collect();
    Request {
        id: format!("q{index}"),
        messages: Vec::new(),
        text: String::new(),
        ids,
        sampling,
        stop: Vec::new(),
    }
}

fn requests() -> Vec<Request> {
    let settings = [
        Sampling::greedy(20),
        Sampling::at(0.6, 30),
        Sampling {
            top_p: Some(0.9),
            ..Sampling::at(1.0, 25)
        },
    ];
    (0..24)
        .map(|i| request(i, settings[i % 3].clone()))
        .collect()
}

fn ask(teacher: &dyn Teacher, requests: &[Request]) -> Vec<Result<Reply, TeacherError>> {
    let mut found = vec![None; requests.len()];
    teacher.answer(requests, &mut |index, result| {
        assert!(found[index].replace(result).is_none());
        ControlFlow::Continue(())
    });
    found.into_iter().map(Option::unwrap).collect()
}

fn separate(batch: usize) -> Separate<MockTarget> {
    let target = MockTarget::new(table());
    Separate::new(target.clone(), vec![target; batch - 1])
}

fn session(request: &Request, seed: u64, gamma: usize) -> SessionConfig {
    let double = |value: f32| value.to_string().parse().unwrap();
    SessionConfig {
        gamma,
        max_new_tokens: request.sampling.max_tokens,
        transform: Transform {
            top_p: request.sampling.top_p.map(double),
            ..Transform::temperature(double(request.sampling.temperature))
        },
        stop: Stop::token(END),
        seed,
    }
}

#[test]
fn answers_are_those_of_the_target_alone_whatever_the_batch() {
    let (tokenizer, requests) = (tokenizer(), requests());
    let mut stops = Vec::new();
    let mut expected = Vec::new();
    let seeds = TargetTeacher::new(separate(1), &tokenizer, 1).with_seed(5);
    for request in &requests {
        let config = session(request, seeds.seed_for(request), 0);
        let mut target = MockTarget::new(table());
        let alone = generate_plain(&mut target, &request.ids, &config, |_| {
            ControlFlow::Continue(())
        });
        expected.push(alone.unwrap().tokens);
    }
    for batch in [1, 3, 8, 40] {
        let teacher = TargetTeacher::new(separate(batch), &tokenizer, batch).with_seed(5);
        for ((request, reply), tokens) in
            requests.iter().zip(ask(&teacher, &requests)).zip(&expected)
        {
            let reply = reply.unwrap();
            assert_eq!(
                reply.answer_ids.as_ref(),
                Some(tokens),
                "batch {batch}, {}",
                request.id
            );
            assert_eq!(reply.prompt_ids.as_ref(), Some(&request.ids));
            let ended = tokens.last() == Some(&END);
            assert_eq!(reply.stop == StopReason::Stop, ended);
            let spoken = &tokens[..tokens.len() - usize::from(ended)];
            assert_eq!(reply.text, tokenizer.decode(spoken, false).unwrap());
            stops.push(reply.stop);
        }
    }
    assert!(stops.contains(&StopReason::Stop) && stops.contains(&StopReason::Length));
}

#[test]
fn with_drafts_it_is_the_speculative_loop_and_greedy_answers_stay() {
    let (tokenizer, requests) = (tokenizer(), requests());
    let draft = || MockDraft::new(table().with_noise(3, 1.5));
    let plain = ask(&TargetTeacher::new(separate(4), &tokenizer, 4), &requests);
    let drafts = (0..4).map(|_| draft()).collect();
    let teacher = TargetTeacher::new(separate(4), &tokenizer, 4).with_drafts(drafts, 3);
    let fast = ask(&teacher, &requests);
    for ((request, plain), fast) in requests.iter().zip(plain).zip(fast) {
        let fast = fast.unwrap();
        if request.sampling.temperature == 0.0 {
            assert_eq!(plain.unwrap(), fast);
        }
        let config = session(request, teacher.seed_for(request), 3);
        let alone = speculate(
            &mut draft(),
            &mut MockTarget::new(table()),
            &request.ids,
            &config,
            |_| ControlFlow::Continue(()),
        );
        assert_eq!(fast.answer_ids, Some(alone.unwrap().tokens));
    }
}

/// Frequencies of the first two tokens of many answers with a draft follow the target's law.
#[test]
fn sampled_answers_follow_the_target() {
    let tokenizer = tokenizer();
    let ask_law = |drafted: bool| {
        let mut counts = std::collections::BTreeMap::new();
        let requests: Vec<Request> = (0..6000)
            .map(|i| Request {
                id: i.to_string(),
                ids: vec![7],
                ..request(0, Sampling::at(0.8, 2))
            })
            .collect();
        let replies = if drafted {
            let drafts = (0..8)
                .map(|_| MockDraft::new(table().with_noise(9, 2.0)))
                .collect();
            ask(
                &TargetTeacher::new(separate(8), &tokenizer, 8).with_drafts(drafts, 2),
                &requests,
            )
        } else {
            ask(&TargetTeacher::new(separate(8), &tokenizer, 8), &requests)
        };
        for reply in replies {
            *counts.entry(reply.unwrap().answer_ids).or_insert(0.0f64) += 1.0;
        }
        counts
    };
    let (plain, drafted) = (ask_law(false), ask_law(true));
    let (mut chi, mut cells) = (0.0, 0.0);
    for (answer, a) in &plain {
        let b = drafted.get(answer).copied().unwrap_or(0.0);
        if a + b >= 20.0 {
            chi += (a - b) * (a - b) / (a + b);
            cells += 1.0;
        }
    }
    // Two samples of one law: mean `cells`, variance twice that; five standard deviations.
    assert!(
        cells >= 8.0 && chi < cells + 5.0 * (2.0f64 * cells).sqrt(),
        "{chi} {cells}"
    );
}

#[test]
fn stop_texts_and_odd_requests() {
    let tokenizer = tokenizer();
    let fixed = |tokens: &[u32]| {
        let mut table = Table::new(VOCABULARY, 1, 0);
        for pair in tokens.windows(2) {
            let mut row = vec![f32::NEG_INFINITY; VOCABULARY];
            row[pair[1] as usize] = 1.0;
            table = table.with_row(&[pair[0]], &row);
        }
        MockTarget::new(table)
    };
    let say = |tokens: &[u32], stop: &[&str], most: usize| {
        let teacher = TargetTeacher::single(fixed(tokens), &tokenizer);
        let request = Request {
            ids: tokens[..1].to_vec(),
            stop: stop.iter().map(|s| (*s).to_owned()).collect(),
            ..request(0, Sampling::greedy(most))
        };
        ask(&teacher, &[request]).remove(0)
    };
    let (a, b, c) = (97, 98, 99);
    let told = |reply: Result<Reply, TeacherError>| {
        let reply = reply.unwrap();
        (reply.text, reply.stop, reply.answer_ids.unwrap())
    };
    // A text over several tokens, a special token, an empty stop that means nothing.
    assert_eq!(
        told(say(&[1, a, b, c, a], &["bc"], 9)),
        ("a".into(), StopReason::Stop, vec![a, b, c])
    );
    assert_eq!(
        told(say(&[1, a, USER, b], &["<|user|>"], 9)),
        ("a".into(), StopReason::Stop, vec![a, USER])
    );
    assert_eq!(
        told(say(&[1, a, END], &[""], 9)),
        ("a".into(), StopReason::Stop, vec![a, END])
    );
    assert_eq!(
        told(say(&[1, a, b, c], &["x"], 2)),
        ("ab".into(), StopReason::Length, vec![a, b])
    );
    assert_eq!(
        told(say(&[1, a], &[], 0)),
        (String::new(), StopReason::Length, vec![])
    );

    let teacher = TargetTeacher::new(separate(2), &tokenizer, 2);
    let good = || request(1, Sampling::greedy(3));
    let replies = ask(
        &teacher,
        &[
            Request {
                ids: vec![],
                ..good()
            },
            Request {
                ids: vec![4000],
                ..good()
            },
            Request {
                sampling: Sampling::at(f32::NAN, 3),
                ..good()
            },
            good(),
        ],
    );
    let kinds: Vec<bool> = replies.iter().map(Result::is_ok).collect();
    assert_eq!(kinds, [false, false, false, true]);
    assert!(
        replies
            .iter()
            .flat_map(|reply| reply.as_ref().err())
            .all(|error| !error.fatal)
    );
}

/// Fails whenever a context holds the token 5, like a target whose context is full.
struct Picky(Separate<MockTarget>);

impl BatchTarget for Picky {
    type Error = std::io::Error;

    fn vocabulary(&self) -> &Vocabulary {
        BatchTarget::vocabulary(&self.0)
    }

    fn score(&mut self, items: &[BatchItem<'_>], out: &mut [LogitRows]) -> Result<(), Self::Error> {
        for (at, item) in items.iter().enumerate() {
            if item.context.contains(&5) {
                return Err(std::io::Error::other("does not fit"));
            }
            self.0
                .score(&[*item], &mut out[at..=at])
                .map_err(std::io::Error::other)?;
        }
        Ok(())
    }

    fn truncate(&mut self, slot: usize, len: usize) -> Result<(), Self::Error> {
        self.0.truncate(slot, len).map_err(std::io::Error::other)
    }
}

#[test]
fn one_bad_request_does_not_spoil_the_batch() {
    let tokenizer = tokenizer();
    let requests: Vec<Request> = (0..9)
        .map(|i| Request {
            ids: if i % 4 == 2 {
                vec![5, i]
            } else {
                vec![6, i + 10]
            },
            ..request(i as usize, Sampling::greedy(12))
        })
        .collect();
    let good = ask(&TargetTeacher::new(separate(3), &tokenizer, 3), &requests);
    let picky = ask(
        &TargetTeacher::new(Picky(separate(3)), &tokenizer, 3),
        &requests,
    );
    for (i, (good, picky)) in good.into_iter().zip(picky).enumerate() {
        match picky {
            Err(error) => assert!(i % 4 == 2 && error.reason == "does not fit", "{error}"),
            Ok(reply) => assert_eq!((i % 4 == 2, reply), (false, good.unwrap())),
        }
    }
}

#[test]
fn the_observer_sees_the_logits_of_every_token() {
    let (tokenizer, requests) = (tokenizer(), requests());
    for drafted in [false, true] {
        let seen = Mutex::new(vec![Vec::new(); requests.len()]);
        let note = |index: usize, token: u32, logits: &[f32]| {
            let row = logits.to_vec();
            seen.lock().unwrap()[index].push((token, row));
        };
        let teacher = TargetTeacher::new(separate(4), &tokenizer, 4).with_observer(note);
        let replies = if drafted {
            let drafts = (0..4)
                .map(|_| MockDraft::new(table().with_noise(3, 1.5)))
                .collect();
            ask(&teacher.with_drafts(drafts, 3), &requests)
        } else {
            ask(&teacher, &requests)
        };
        let table = table();
        for ((request, reply), seen) in requests
            .iter()
            .zip(replies)
            .zip(seen.lock().unwrap().iter())
        {
            let answer = reply.unwrap().answer_ids.unwrap();
            let tokens: Vec<u32> = seen.iter().map(|(token, _)| *token).collect();
            assert_eq!(tokens, answer);
            let mut last = *request.ids.last().unwrap();
            for (token, logits) in seen {
                let expected: Vec<f32> = (0..VOCABULARY as u32)
                    .map(|t| table.logit(&[last], t))
                    .collect();
                assert_eq!(logits, &expected);
                last = *token;
            }
        }
    }
}

fn summary(tokenizer: &Tokenizer, teacher: &dyn Teacher, path: &std::path::Path) -> Summary {
    let prompts: Vec<Prompt> = (0..20)
        .map(|i| Prompt {
            id: i.to_string(),
            task: "t".into(),
            prompt: format!("hello {i}"),
        })
        .collect();
    let generation = Generation {
        tokenizer,
        template: None,
        system: None,
        settings: vec![Sampling::greedy(9), Sampling::at(0.8, 9)],
        provenance: Provenance::default(),
    };
    generate(teacher, &prompts, &generation, path).unwrap()
}

#[test]
fn it_generates_datasets_and_a_fault_in_the_target_is_a_failure() {
    let tokenizer = tokenizer();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let faulty = MockTarget::new(table()).fail_at(60);
    let teacher = TargetTeacher::single(faulty, &tokenizer);
    let first = summary(&tokenizer, &teacher, &path);
    assert_eq!((first.input, first.done + first.failed), (40, 40));
    let teacher = TargetTeacher::new(separate(4), &tokenizer, 4);
    let second = summary(&tokenizer, &teacher, &path);
    assert_eq!(
        (second.skipped, second.done, second.failed),
        (first.done, first.failed, 0)
    );
    let mut single = MockTarget::new(table());
    assert!(single.truncate(0).is_ok());
}

#[test]
fn a_limit_keeps_what_was_said() {
    let tokenizer = tokenizer();
    let request = |i: usize| Request {
        sampling: Sampling::greedy(usize::MAX),
        ..request(i, Sampling::greedy(1))
    };
    let requests: Vec<Request> = (0..3).map(request).collect();
    let told = AtomicUsize::new(0);
    let teacher = TargetTeacher::new(separate(2), &tokenizer, 2)
        .with_end_ids(&[])
        .with_observer(|_, _, _| {
            told.fetch_add(1, Ordering::Relaxed);
        })
        .with_limit(std::time::Duration::from_millis(60));
    let mut lengths = Vec::new();
    teacher.answer(&requests, &mut |index, reply| {
        let reply = reply.unwrap();
        assert_eq!(reply.stop, StopReason::Other);
        lengths.push((index, reply.answer_ids.unwrap().len()));
        ControlFlow::Continue(())
    });
    assert_eq!(
        lengths.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
        [0, 1]
    );
    assert_eq!(
        lengths.iter().map(|(_, length)| length).sum::<usize>(),
        told.load(Ordering::Relaxed)
    );
    assert!(told.load(Ordering::Relaxed) > 0);
}
