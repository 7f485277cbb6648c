//! `torchrun` as a child process that answers orders.

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    TorchConfig,
    event::{Event, Order},
    failure::{last_lines, root_cause},
    files::io,
};
use crate::error::TrainError;

const POLL: Duration = Duration::from_millis(200);
/// `torchrun` gives the ranks that are left 30 seconds.
const ENDING: Duration = Duration::from_secs(45);
/// After the orders have ended.
const LEAVING: Duration = Duration::from_secs(10);
const KEPT_LINES: usize = 400;
const SHOWN_LINES: usize = 10;
/// In every line that `torchrun` itself writes about ranks that failed.
const LAUNCHER: &str = "torch/distributed/elastic";

/// Why a run ended early.
pub(super) struct Failure {
    /// The error that a rank reported, if one did.
    pub(super) event: Option<Event>,
    /// What happened, in a sentence.
    pub(super) reason: String,
    /// Last lines of the error stream.
    pub(super) tail: String,
}

/// Started ranks.
pub(super) struct Worker {
    child: Child,
    orders: Option<ChildStdin>,
    events: Receiver<String>,
    errors: Arc<Mutex<VecDeque<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts all ranks of this machine on a run folder, with a script of the program; their error
    /// stream goes to `worker.log` in the folder.
    ///
    /// # Errors
    /// [`TrainError::Python`] when the interpreter cannot be started, [`TrainError::Io`] when the
    /// log cannot be written.
    pub(super) fn start(
        config: &TorchConfig,
        script: &Path,
        folder: &Path,
    ) -> Result<Self, TrainError> {
        let log = folder.join("worker.log");
        let log = File::create(&log).map_err(|source| io(&log, source))?;
        let mut command = Command::new(&config.python);
        command.args(["-m", "torch.distributed.run"]);
        command.arg(format!("--nproc-per-node={}", config.ranks));
        match &config.nodes {
            None => command.arg("--standalone"),
            Some(nodes) => command
                .arg(format!("--nnodes={}", nodes.count))
                .arg("--node-rank=0")
                .arg(format!("--master-addr={}", nodes.address))
                .arg(format!("--master-port={}", nodes.port)),
        };
        command.arg(script).arg(folder);
        if let Some(threads) = config.threads() {
            command.env("OMP_NUM_THREADS", threads.to_string());
        }
        command.env("PYTHONUNBUFFERED", "1");
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is for this program, which then ends the stage in order.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(|source| TrainError::Python {
            python: config.python.clone(),
            reason: format!("cannot be started: {source}"),
        })?;
        let (sender, events) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                let lines = BufReader::new(stdout).lines().map_while(Result::ok);
                for line in lines {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let errors = Arc::new(Mutex::new(VecDeque::new()));
        let reader = child.stderr.take().map(|stderr| {
            let kept = Arc::clone(&errors);
            std::thread::spawn(move || keep(BufReader::new(stderr), log, &kept))
        });
        Ok(Self {
            orders: child.stdin.take(),
            child,
            events,
            errors,
            reader,
        })
    }

    /// Gives an order and waits for its answer.
    ///
    /// # Errors
    /// [`Failure`] when a rank reports an error or the ranks end.
    pub(super) fn ask(&mut self, order: &Order<'_>) -> Result<Event, Box<Failure>> {
        if self.tell(order).is_err() {
            return Err(self.failure(None));
        }
        self.next_event()
    }

    /// The next event.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(super) fn next_event(&mut self) -> Result<Event, Box<Failure>> {
        loop {
            match self.events.recv_timeout(POLL) {
                Ok(line) => match serde_json::from_str(&line) {
                    Ok(event @ Event::Error { .. }) => return Err(self.failure(Some(event))),
                    Ok(event) => return Ok(event),
                    // A library that writes where only events belong.
                    Err(_) => {}
                },
                Err(RecvTimeoutError::Timeout) => {
                    if !matches!(self.child.try_wait(), Ok(None)) {
                        // What was said before the end may still be on its way.
                        std::thread::sleep(POLL);
                        if let Some(event) = self.reported() {
                            return Err(self.failure(Some(event)));
                        }
                        return Err(self.failure(None));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.failure(None)),
            }
        }
    }

    /// Ends the ranks in order.
    pub(super) fn stop(&mut self) {
        // Ranks that are gone already need no order.
        let _ = self.tell(&Order::Stop);
        self.leave(LEAVING);
    }

    /// Ends the ranks without waiting for what they are at.
    pub(super) fn abort(&mut self) {
        self.leave(Duration::ZERO);
    }

    fn tell(&mut self, order: &Order<'_>) -> std::io::Result<()> {
        let Some(orders) = &mut self.orders else {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        };
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        orders.write_all(&line)?;
        orders.flush()
    }

    /// An error among the events that are waiting.
    fn reported(&self) -> Option<Event> {
        let parsed = |line: String| serde_json::from_str(&line).ok();
        let mut waiting = self.events.try_iter().filter_map(parsed);
        waiting.find(|event| matches!(event, Event::Error { .. }))
    }

    fn failure(&mut self, mut event: Option<Event>) -> Box<Failure> {
        self.leave(ENDING);
        if event.is_none() {
            event = self.reported();
        }
        let deadline = Instant::now() + LEAVING;
        while let Some(reader) = &self.reader
            && !reader.is_finished()
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        let lines = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let all = (lines.iter().map(String::as_str)).collect::<Vec<_>>();
        let own = all.iter().position(|line| line.contains(LAUNCHER));
        let own = last_lines(&all[..own.unwrap_or(all.len())].join("\n"), SHOWN_LINES);
        let all = all.join("\n");
        let status = (self.child.try_wait().ok().flatten())
            .map_or("a status that is not known".to_owned(), |status| {
                status.to_string()
            });
        let reason = match (root_cause(&all), &event) {
            (Some((rank, code)), _) if code < 0 => {
                format!("rank {rank} was ended by signal {}", -code)
            }
            (_, Some(Event::Error { rank, message, .. })) => {
                format!(
                    "rank {rank}: {}",
                    message.as_deref().unwrap_or("it refused")
                )
            }
            (Some((rank, code)), _) => format!("rank {rank} ended with code {code}"),
            _ => format!("torchrun ended with {status}"),
        };
        let tail = if own.is_empty() {
            last_lines(&all, SHOWN_LINES)
        } else {
            own
        };
        Box::new(Failure {
            event,
            reason,
            tail,
        })
    }

    /// Ends the orders and waits; what is still there then is killed.
    fn leave(&mut self, patience: Duration) {
        self.orders = None;
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // It may have ended by itself just now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.leave(LEAVING);
    }
}

/// Copies lines to the log and keeps the last ones.
fn keep(lines: impl BufRead, mut log: File, kept: &Mutex<VecDeque<String>>) {
    for line in lines.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        // A log that is full must not end the training.
        let _ = writeln!(log, "{line}");
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}
