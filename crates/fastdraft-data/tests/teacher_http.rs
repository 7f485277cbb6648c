//! An HTTP teacher against a server that does everything wrong.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::tokenizer;
use fastdraft_data::Message;
use fastdraft_data::generate::{Generation, errors_path, generate};
use fastdraft_data::source::Prompt;
use fastdraft_data::teacher::{
    Api, HttpConfig, HttpTeacher, Reply, Request, Sampling, StopReason, Teacher, TeacherError,
};
use serde_json::{Value, json};

#[derive(Default)]
struct Seen {
    attempts: Mutex<HashMap<String, usize>>,
    keys: Mutex<Vec<String>>,
    running: AtomicUsize,
    most: AtomicUsize,
}

/// A server whose behaviour is asked for by the prompt: `429 hello` fails once, then answers.
fn server() -> (String, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let seen = Arc::new(Seen::default());
    let for_server = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, seen) = (stream.unwrap(), Arc::clone(&for_server));
            std::thread::spawn(move || {
                let now = seen.running.fetch_add(1, Ordering::SeqCst) + 1;
                seen.most.fetch_max(now, Ordering::SeqCst);
                // A client that has given up is none of the server's business.
                let _ = serve(stream, &seen);
                seen.running.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (url, seen)
}

fn serve(mut stream: TcpStream, seen: &Seen) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut length, mut key) = (String::new(), 0, String::new());
    let mut path = String::new();
    while reader.read_line(&mut line)? > 2 {
        let lower = line.to_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if lower.starts_with("authorization:") {
            key = line["authorization:".len()..].trim().to_owned();
        }
        if path.is_empty() {
            path = line.clone();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body).unwrap();
    let chat = path.contains("/v1/chat/completions ");
    let prompt = if chat {
        &body["messages"][0]["content"]
    } else {
        &body["prompt"]
    };
    let prompt = prompt.as_str().unwrap().to_owned();
    seen.keys.lock().unwrap().push(key.clone());
    let attempt = {
        let mut attempts = seen.attempts.lock().unwrap();
        let attempt = attempts.entry(prompt.clone()).or_default();
        *attempt += 1;
        *attempt
    };
    let kind = prompt.split(' ').next().unwrap_or_default();
    let good = if chat {
        json!({"choices": [{"message": {"content": prompt}, "finish_reason": "stop"}]})
    } else {
        json!({"choices": [{"text": prompt, "finish_reason": "length", "token_ids": [4, 5]}]})
    };
    let good = good.to_string();
    let always = prompt.contains("always");
    let mut answer = |status: &str, headers: &str, body: &str, length: usize| {
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())
    };
    if attempt > 1 && !always {
        return answer("200 OK", "", &good, good.len());
    }
    match kind {
        "slow" => {
            std::thread::sleep(Duration::from_secs(3));
            answer("200 OK", "", &good, good.len())
        }
        "drip" => {
            answer("200 OK", "", "", good.len())?;
            for byte in good.bytes() {
                stream.write_all(&[byte])?;
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        }
        "cut" => answer("200 OK", "", &good[..good.len() / 2], good.len()),
        "short" => answer("200 OK", "", &good[..good.len() / 2], good.len() / 2),
        "wrong" => answer("200 OK", "", r#"{"choices":[]}"#, 14),
        "null" => answer(
            "200 OK",
            "",
            r#"{"choices":[{"message":{"content":null}}]}"#,
            42,
        ),
        "429" => answer("429 Too Many", "retry-after: 1\r\n", "", 0),
        "later" => answer("429 Too Many", "retry-after: 86400\r\n", "", 0),
        "500" => answer("500 Oops", "", "internal", 8),
        "400" => answer("400 Bad", "", "too long", 8),
        "401" => answer("401 No", "", &format!("bad key: {key}"), 9 + key.len()),
        "moved" => answer("302 Found", "location: http://127.0.0.1:1/\r\n", "", 0),
        "garbage" => stream.write_all(b"\x00\xff\x00 not http at all\r\n\r\n"),
        "huge" => {
            let body = "x".repeat(200_000);
            answer("200 OK", "", &body, body.len())
        }
        "closed" => Ok(()),
        "work" => {
            std::thread::sleep(Duration::from_millis(50));
            answer("200 OK", "", &good, good.len())
        }
        _ => answer("200 OK", "", &good, good.len()),
    }
}

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
