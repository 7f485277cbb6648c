//! A server on 127.0.0.1 that misbehaves as its prompts ask.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

#[derive(Default)]
pub struct Seen {
    pub attempts: Mutex<HashMap<String, usize>>,
    pub keys: Mutex<Vec<String>>,
    running: AtomicUsize,
    pub most: AtomicUsize,
}

/// A server whose behaviour is asked for by the prompt: `429 hello` fails once, then answers.
pub fn server() -> (String, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let seen = Arc::new(Seen::default());
    let for_server = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, seen) = (stream.unwrap(), Arc::clone(&for_server));
            std::thread::spawn(move || {
                // A client that has given up is none of the server's business.
                let _ = serve(stream, &seen);
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
            let now = seen.running.fetch_add(1, Ordering::SeqCst) + 1;
            seen.most.fetch_max(now, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(50));
            // Before the answer: a client may ask again as soon as it has it.
            seen.running.fetch_sub(1, Ordering::SeqCst);
            answer("200 OK", "", &good, good.len())
        }
        _ => answer("200 OK", "", &good, good.len()),
    }
}
