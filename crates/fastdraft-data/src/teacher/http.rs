//! A teacher behind an OpenAI-compatible endpoint.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use ureq::http::{HeaderValue, Uri};

use super::wire::{Api, shorten};
use super::{Reply, Request, Sink, Teacher, TeacherError, backoff};

/// Where a teacher is, and how patiently it is asked.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Address before `/chat/completions`, such as `http://127.0.0.1:8000/v1`.
    pub base_url: String,
    /// Name of the model.
    pub model: String,
    /// Endpoint.
    pub api: Api,
    /// Environment variable with the API key. The key itself is never shown.
    pub key_variable: Option<String>,
    /// Requests under way at a time.
    pub concurrency: usize,
    /// Time for making a connection.
    pub connect_timeout: Duration,
    /// Time for a whole request.
    pub timeout: Duration,
    /// Times a request is tried.
    pub attempts: u32,
    /// First pause before trying again; it doubles.
    pub backoff: Duration,
    /// Longest such pause.
    pub backoff_limit: Duration,
    /// Longest `Retry-After` that is waited for.
    pub retry_after_limit: Duration,
    /// Most bytes of a response.
    pub response_limit: u64,
    /// More fields for every request, such as `return_token_ids`.
    pub extra: Map<String, Value>,
}

impl HttpConfig {
    /// A chat endpoint: 8 requests at a time, 5 attempts, 5 minutes each.
    #[must_use]
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            model: model.into(),
            api: Api::Chat,
            key_variable: None,
            concurrency: 8,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(300),
            attempts: 5,
            backoff: Duration::from_millis(500),
            backoff_limit: Duration::from_secs(30),
            retry_after_limit: Duration::from_secs(120),
            response_limit: 16 << 20,
            extra: Map::new(),
        }
    }
}

/// A teacher behind an OpenAI-compatible endpoint.
///
/// As many threads as requests may be under way take requests in turn and wait until their reply
/// is received, so a slow receiver slows the questions down. `Retry-After` holds up all of them.
///
/// ```no_run
/// use fastdraft_data::teacher::{HttpConfig, HttpTeacher};
///
/// let mut config = HttpConfig::new("http://127.0.0.1:8000/v1", "smollm2");
/// config.key_variable = Some("TEACHER_KEY".into());
/// let teacher = HttpTeacher::new(config)?;
/// # Ok::<(), fastdraft_data::teacher::TeacherError>(())
/// ```
pub struct HttpTeacher {
    config: HttpConfig,
    base: String,
    key: Option<String>,
    agent: ureq::Agent,
    not_before: Mutex<Instant>,
    pauses: AtomicU64,
}

impl std::fmt::Debug for HttpTeacher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpTeacher")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

enum Failure {
    Again(String, Option<Duration>),
    Never(String),
    Fatal(String),
}

impl HttpTeacher {
    /// A teacher; nothing is asked yet.
    ///
    /// # Errors
    ///
    /// [`TeacherError`] when the address is none, or the key is missing or no visible ASCII.
    pub fn new(config: HttpConfig) -> Result<Self, TeacherError> {
        let error = |reason: String| TeacherError {
            reason,
            attempts: 0,
            fatal: true,
        };
        let base = config.base_url.trim_end_matches('/').to_owned();
        let uri: Uri = format!("{base}{}", config.api.path())
            .parse()
            .map_err(|problem| error(format!("bad address: {problem}")))?;
        let host = uri.host().unwrap_or_default();
        if !matches!(uri.scheme_str(), Some("http" | "https")) || host.is_empty() {
            return Err(error(
                "the address must begin with http:// or https://".into(),
            ));
        }
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(error("the address must not contain a password".into()));
        }
        let key = match &config.key_variable {
            None => None,
            Some(name) => {
                let key = std::env::var(name)
                    .map_err(|_| error(format!("no key in the environment variable {name}")))?;
                let usable = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
                if !usable {
                    return Err(error(format!("the key in {name} is not visible ASCII")));
                }
                Some(key)
            }
        };
        let mut builder = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // A redirect would take the key elsewhere.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections_per_host(config.concurrency.max(1))
            .timeout_connect(Some(config.connect_timeout))
            .timeout_global(Some(config.timeout));
        if host == "localhost" || host.starts_with("127.") || host == "[::1]" {
            builder = builder.proxy(None);
        }
        Ok(Self {
            agent: builder.build().into(),
            base,
            key,
            config,
            not_before: Mutex::new(Instant::now()),
            pauses: AtomicU64::new(0),
        })
    }

    fn post(&self, api: Api, body: &Value) -> Result<Reply, Failure> {
        let url = format!("{}{}", self.base, api.path());
        let mut request = self.agent.post(&url).content_type("application/json");
        if let Some(key) = &self.key {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
                .map_err(|_| Failure::Fatal("the key does not fit a header".into()))?;
            value.set_sensitive(true);
            request = request.header("authorization", value);
        }
        let again = |error: ureq::Error| Failure::Again(error.to_string(), None);
        let mut response = request.send(body.to_string()).map_err(again)?;
        let status = response.status().as_u16();
        let wait = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| backoff::retry_after(value, SystemTime::now()));
        let bytes = response
            .body_mut()
            .with_config()
            .limit(self.config.response_limit)
            .read_to_vec();
        if status == 200 {
            let bytes = bytes.map_err(again)?;
            return api
                .parse(&bytes)
                .map_err(|reason| Failure::Again(reason, None));
        }
        let text = bytes.unwrap_or_default();
        let reason = format!("status {status}: {}", String::from_utf8_lossy(&text));
        Err(match status {
            408 | 409 | 425 | 429 | 500..=599 => match wait {
                Some(wait) if wait > self.config.retry_after_limit => {
                    Failure::Never(format!("asked to wait {} s; {reason}", wait.as_secs()))
                }
                wait => Failure::Again(reason, wait),
            },
            401 | 403 | 404 => Failure::Fatal(reason),
            _ => Failure::Never(reason),
        })
    }

    fn ask(&self, request: &Request, stop: &AtomicBool) -> Result<Reply, TeacherError> {
        let config = &self.config;
        let api = config.api.serving(request);
        let body = api.body(&config.model, request, &config.extra);
        let mut attempts = 0;
        loop {
            self.wait(stop);
            attempts += 1;
            let (reason, fatal) = match self.post(api, &body) {
                Ok(reply) => return Ok(reply),
                Err(Failure::Again(_, wait))
                    if attempts < config.attempts && !stop.load(Ordering::Relaxed) =>
                {
                    self.pause(attempts - 1, wait, stop);
                    continue;
                }
                Err(Failure::Again(reason, _) | Failure::Never(reason)) => (reason, false),
                Err(Failure::Fatal(reason)) => (reason, true),
            };
            return Err(TeacherError {
                reason: shorten(&self.redact(reason)),
                attempts,
                fatal,
            });
        }
    }

    /// Servers have been seen to repeat the key in their messages.
    fn redact(&self, text: String) -> String {
        match &self.key {
            Some(key) => text.replace(key.as_str(), "[key]"),
            None => text,
        }
    }

    fn pause(&self, attempt: u32, wait: Option<Duration>, stop: &AtomicBool) {
        let chance = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_nanos() as u64);
        let chance = chance ^ self.pauses.fetch_add(1, Ordering::Relaxed) << 32;
        let delay = backoff::delay(
            attempt,
            self.config.backoff,
            self.config.backoff_limit,
            chance,
        );
        if let Some(wait) = wait {
            let mut gate = self
                .not_before
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *gate = (*gate).max(Instant::now() + wait);
        }
        sleep_until(Instant::now() + delay, stop);
    }

    fn wait(&self, stop: &AtomicBool) {
        let gate = *self
            .not_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        sleep_until(gate, stop);
    }

    fn work(
        &self,
        requests: &[Request],
        next: &AtomicUsize,
        stop: &AtomicBool,
        sender: &SyncSender<(usize, Result<Reply, TeacherError>)>,
    ) {
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(request) = requests.get(index) else {
                return;
            };
            if sender.send((index, self.ask(request, stop))).is_err() {
                return;
            }
        }
    }
}

fn sleep_until(end: Instant, stop: &AtomicBool) {
    const SLICE: Duration = Duration::from_millis(50);
    while !stop.load(Ordering::Relaxed) {
        let rest = end.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return;
        }
        std::thread::sleep(rest.min(SLICE));
    }
}

fn receive(receiver: &Receiver<(usize, Result<Reply, TeacherError>)>, sink: &mut Sink<'_>) {
    for (index, result) in receiver {
        let fatal = result.as_ref().is_err_and(|error| error.fatal);
        if sink(index, result) == ControlFlow::Break(()) || fatal {
            return;
        }
    }
}

impl Teacher for HttpTeacher {
    fn answer(&self, requests: &[Request], sink: &mut Sink<'_>) {
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let workers = self.config.concurrency.clamp(1, requests.len().max(1));
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(workers);
            for _ in 0..workers {
                let (sender, next, stop) = (sender.clone(), &next, &stop);
                scope.spawn(move || self.work(requests, next, stop, &sender));
            }
            drop(sender);
            receive(&receiver, sink);
            stop.store(true, Ordering::Relaxed);
            // Threads that wait for their reply to be received must not wait for ever.
            drop(receiver);
        });
    }
}
