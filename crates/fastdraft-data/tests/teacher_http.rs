//! An HTTP teacher against a server that does everything wrong.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used)]

mod common;
mod hostile;

use std::net::TcpListener;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::tokenizer;
use fastdraft_data::generate::{Generation, errors_path, generate};
use fastdraft_data::instruct::{SelfInstruction, instruct};
use fastdraft_data::source::{Prompt, read_prompts};
use fastdraft_data::teacher::{
    Api, HttpConfig, HttpTeacher, Reply, Request, Sampling, StopReason, Teacher, TeacherError,
};
use fastdraft_data::{ChatTemplate, Message, Provenance, Tokenizer};
use hostile::server;

fn config(url: &str) -> HttpConfig {
    HttpConfig {
        timeout: Duration::from_millis(800),
        attempts: 3,
        backoff: Duration::from_millis(10),
        retry_after_limit: Duration::from_secs(5),
        response_limit: 100_000,
        ..HttpConfig::new(url, "test")
    }
}

fn request(prompt: &str) -> Request {
    Request {
        id: prompt.into(),
        messages: vec![Message::user(prompt)],
        text: prompt.into(),
        ids: vec![1],
        sampling: Sampling::at(0.7, 8),
        stop: Vec::new(),
    }
}

fn ask(teacher: &HttpTeacher, prompts: &[&str]) -> Vec<Result<Reply, TeacherError>> {
    let requests: Vec<Request> = prompts.iter().map(|prompt| request(prompt)).collect();
    let mut found: Vec<Option<_>> = vec![None; requests.len()];
    teacher.answer(&requests, &mut |index, result| {
        assert!(found[index].replace(result).is_none());
        ControlFlow::Continue(())
    });
    found.into_iter().map(Option::unwrap).collect()
}

#[test]
fn what_can_be_repaired_is_repaired() {
    let (url, seen) = server();
    let teacher = HttpTeacher::new(config(&url)).unwrap();
    let prompts = [
        "fine",
        "slow a",
        "drip a",
        "cut a",
        "short a",
        "wrong a",
        "null a",
        "429 a",
        "500 a",
        "garbage a",
        "huge a",
        "closed a",
    ];
    for (prompt, result) in prompts.iter().zip(ask(&teacher, &prompts)) {
        let reply = result.unwrap_or_else(|error| panic!("{prompt}: {error}"));
        assert_eq!(
            (reply.text.as_str(), reply.stop),
            (*prompt, StopReason::Stop)
        );
    }
    let attempts = seen.attempts.lock().unwrap();
    assert!(
        prompts[1..].iter().all(|prompt| attempts[*prompt] == 2),
        "{attempts:?}"
    );
}

#[test]
fn what_cannot_be_repaired_is_reported() {
    let (url, _) = server();
    let teacher = HttpTeacher::new(config(&url)).unwrap();
    for (prompt, reason, attempts) in [
        ("slow always", "timeout", 3),
        ("drip always", "timeout", 3),
        ("cut always", "", 3),
        ("short always", "not JSON", 3),
        ("wrong always", "no choices", 3),
        ("null always", "no text", 3),
        ("500 always", "status 500: internal", 3),
        ("garbage always", "", 3),
        ("huge always", "", 3),
        ("closed always", "", 3),
        ("400 always", "status 400: too long", 1),
        ("later always", "asked to wait 86400 s", 1),
        ("moved always", "status 302", 1),
    ] {
        let error = ask(&teacher, &[prompt]).remove(0).unwrap_err();
        assert!(error.reason.contains(reason), "{prompt}: {error}");
        assert_eq!(
            (error.attempts, error.fatal),
            (attempts, false),
            "{prompt}: {error}"
        );
    }
}

#[test]
fn retry_after_is_waited_for() {
    let (url, _) = server();
    let teacher = HttpTeacher::new(config(&url)).unwrap();
    let start = Instant::now();
    ask(&teacher, &["429 a"]).remove(0).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn the_key_is_sent_and_never_shown() {
    let (url, seen) = server();
    let name = "PATH";
    let key = std::env::var(name).unwrap();
    let mut config = config(&url);
    config.key_variable = Some(name.into());
    let teacher = HttpTeacher::new(config.clone()).unwrap();
    let error = ask(&teacher, &["401 always"]).remove(0).unwrap_err();
    assert!(
        error.fatal && error.reason.contains("bad key: Bearer [key]"),
        "{error}"
    );
    assert_eq!(*seen.keys.lock().unwrap(), [format!("Bearer {key}")]);
    assert!(!format!("{teacher:?} {error:?}").contains(&key));
    config.key_variable = Some("FASTDRAFT_NO_SUCH_VARIABLE".into());
    assert!(HttpTeacher::new(config).is_err());
}

#[test]
fn no_server_and_bad_addresses() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let teacher = HttpTeacher::new(config(&url)).unwrap();
    assert_eq!(ask(&teacher, &["fine"]).remove(0).unwrap_err().attempts, 3);
    for bad in [
        "",
        "127.0.0.1",
        "ftp://a/v1",
        "http://user:secret@a/v1",
        "http://a b",
    ] {
        let error = HttpTeacher::new(config(bad)).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn as_many_at_a_time_as_allowed_and_no_more_when_the_sink_stops() {
    let (url, seen) = server();
    let mut config = config(&url);
    config.concurrency = 4;
    let teacher = HttpTeacher::new(config).unwrap();
    let prompts: Vec<String> = (0..40).map(|i| format!("work {i}")).collect();
    let requests: Vec<Request> = prompts.iter().map(|prompt| request(prompt)).collect();
    let mut received = 0;
    teacher.answer(&requests, &mut |_, result| {
        result.unwrap();
        received += 1;
        if received == 12 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let (asked, most) = (
        seen.attempts.lock().unwrap().len(),
        seen.most.load(Ordering::SeqCst),
    );
    assert!((2..=4).contains(&most), "{most}");
    assert!((12..=24).contains(&asked), "{asked}");
}

#[test]
fn a_dataset_from_a_bad_server() {
    let (url, _) = server();
    let mut config = config(&url);
    config.api = Api::Completions;
    let teacher = HttpTeacher::new(config).unwrap();
    let prompts: Vec<Prompt> = ["fine", "500 a", "cut a", "400 always", "closed always"]
        .iter()
        .map(|prompt| Prompt {
            id: (*prompt).into(),
            task: "t".into(),
            prompt: (*prompt).into(),
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let tokenizer = tokenizer();
    let generation = Generation {
        tokenizer: &tokenizer,
        template: None,
        system: None,
        settings: vec![Sampling::greedy(8)],
        provenance: Provenance::default(),
    };
    let summary = generate(&teacher, &prompts, &generation, &path).unwrap();
    assert_eq!(
        summary.to_string(),
        "input 5 = done 3 + failed 2 + skipped 0"
    );
    let summary = generate(&teacher, &prompts, &generation, &path).unwrap();
    assert_eq!(
        summary.to_string(),
        "input 5 = done 0 + failed 2 + skipped 3"
    );
    let rows: Vec<fastdraft_data::generate::Generated> =
        fastdraft_data::source::read_jsonl(&path).unwrap();
    assert!(
        rows.iter()
            .all(|row| row.exact && row.answer.answer_ids == [4, 5])
    );
    assert_eq!(
        std::fs::read_to_string(errors_path(&path))
            .unwrap()
            .lines()
            .count(),
        2
    );
}

#[test]
fn bare_text_is_continued_by_the_completions_endpoint() {
    let (url, _) = server();
    let teacher = HttpTeacher::new(config(&url)).unwrap();
    let bare = Request {
        messages: Vec::new(),
        text: "fine text".into(),
        ..request("fine chat")
    };
    let mut found = vec![None; 2];
    teacher.answer(&[bare, request("fine chat")], &mut |index, reply| {
        let reply = reply.unwrap();
        found[index] = Some((reply.text, reply.stop, reply.answer_ids));
        ControlFlow::Continue(())
    });
    let [bare, chat] = [0, 1].map(|index: usize| found[index].clone().unwrap());
    assert_eq!(
        bare,
        ("fine text".into(), StopReason::Length, Some(vec![4, 5]))
    );
    assert_eq!(chat, ("fine chat".into(), StopReason::Stop, None));
}

/// Needs a server with a model:
///
/// ```text
/// pip install 'llama-cpp-python[server]'
/// python -m llama_cpp.server --model SmolLM2-135M-Instruct.gguf --port 8000
/// FASTDRAFT_TEACHER=http://127.0.0.1:8000/v1 \
///   cargo test -p fastdraft-data --features http --test teacher_http -- --ignored --nocapture
/// ```
#[test]
#[ignore = "needs a running server, named by FASTDRAFT_TEACHER"]
fn a_real_server() {
    let url = std::env::var("FASTDRAFT_TEACHER").unwrap();
    for api in [Api::Chat, Api::Completions] {
        let mut config = HttpConfig::new(&url, "model");
        config.api = api;
        config.concurrency = 2;
        let teacher = HttpTeacher::new(config).unwrap();
        let mut requests = vec![
            request("What is the capital of France?"),
            request("Name three colours."),
            request("What is the capital of France?"),
        ];
        for request in &mut requests {
            request.sampling = Sampling::greedy(24);
            request.text = format!(
                "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
                request.messages[0].content
            );
        }
        let start = Instant::now();
        let mut replies = vec![None; 3];
        teacher.answer(&requests, &mut |index, result| {
            replies[index] = Some(result.unwrap());
            ControlFlow::Continue(())
        });
        println!("{api:?} in {:?}: {replies:?}", start.elapsed());
        let texts: Vec<String> = replies
            .into_iter()
            .map(|reply| reply.unwrap().text)
            .collect();
        assert!(texts[0].contains("Paris"), "{}", texts[0]);
        assert_eq!(texts[0], texts[2]);
    }
}

/// As above, and `FASTDRAFT_MODEL` names a folder with the model's `tokenizer.json` and
/// `chat_template.jinja`.
#[test]
#[ignore = "needs a running server, named by FASTDRAFT_TEACHER"]
fn a_real_server_makes_up_instructions() {
    let url = std::env::var("FASTDRAFT_TEACHER").unwrap();
    let model = std::path::PathBuf::from(std::env::var("FASTDRAFT_MODEL").unwrap());
    let tokenizer = Tokenizer::from_file(&model).unwrap();
    let source = std::fs::read_to_string(model.join("chat_template.jinja")).unwrap();
    let template = ChatTemplate::new(&source, None, None).unwrap();
    let mut config = HttpConfig::new(&url, "model");
    config.concurrency = 2;
    let teacher = HttpTeacher::new(config).unwrap();
    let mut wanted = SelfInstruction::new(&tokenizer, &template, 12);
    wanted.sampling.max_tokens = 96;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("instructions.jsonl");
    let summary = instruct(&teacher, &wanted, &path).unwrap();
    println!("{summary}");
    for prompt in read_prompts(&path).unwrap() {
        println!("{}: {:?}", prompt.id, prompt.prompt);
    }
    println!("{}", std::fs::read_to_string(errors_path(&path)).unwrap());
    assert!(summary.done >= 3, "{summary}");
}
