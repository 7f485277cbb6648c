//! A file over HTTP, resumed where an earlier attempt stopped.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ureq::Agent;
use ureq::http::{HeaderMap, StatusCode, header};

/// Attempts in a row that bring no byte before the download is given up.
const FRUITLESS: u32 = 4;
/// Longest time one attempt reads; what it brought stays, so a stalled connection costs no more.
const ATTEMPT: Duration = Duration::from_secs(120);

/// Appends to `part` what it lacks of the file at `url`.
///
/// `part` may hold the start of the file from an earlier call or process, and keeps what was read
/// when the download fails. Servers without byte ranges start over. The caller checks the digest.
pub(super) fn download(url: &str, name: &str, part: &mut File) -> io::Result<()> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_recv_body(Some(ATTEMPT))
        .build()
        .into();
    let bar = ProgressBar::new(0).with_message(name.to_owned());
    let style = "{msg}  {bytes}/{total_bytes}  {bytes_per_sec}  eta {eta}";
    bar.set_style(ProgressStyle::with_template(style).map_err(io::Error::other)?);
    let mut fruitless = 0;
    loop {
        let before = part.seek(SeekFrom::End(0))?;
        let error = match attempt(&agent, url, before, part, &bar) {
            Ok(()) => break,
            Err(Attempt::Fatal(error)) => return Err(error),
            Err(Attempt::Broken(error)) => error,
        };
        fruitless = if part.stream_position()? > before {
            0
        } else {
            fruitless + 1
        };
        if fruitless == FRUITLESS {
            return Err(error);
        }
        thread::sleep(Duration::from_millis(250 << fruitless));
    }
    bar.finish_and_clear();
    part.sync_all()
}

enum Attempt {
    /// Worth another try.
    Broken(io::Error),
    Fatal(io::Error),
}

fn attempt(
    agent: &Agent,
    url: &str,
    have: u64,
    part: &mut File,
    bar: &ProgressBar,
) -> Result<(), Attempt> {
    let mut request = agent.get(url).header(header::ACCEPT_ENCODING, "identity");
    if have > 0 {
        request = request.header(header::RANGE, format!("bytes={have}-"));
    }
    let response = request.call().map_err(|error| broken(error.into_io()))?;
    let (head, body) = response.into_parts();
    let start = match head.status {
        StatusCode::PARTIAL_CONTENT => have,
        StatusCode::OK => 0,
        // Nothing lies beyond what is there: complete, or not this file, which the digest tells.
        StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => return Ok(()),
        status => {
            let error = io::Error::other(format!("{url}: {status}"));
            let passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            return Err(if passing {
                Attempt::Broken
            } else {
                Attempt::Fatal
            }(error));
        }
    };
    if start == have && have > 0 && range_start(&head.headers) != Some(have) {
        let error = format!("{url}: the server sent another range than from byte {have}");
        return Err(Attempt::Fatal(io::Error::other(error)));
    }
    part.set_len(start).map_err(Attempt::Fatal)?;
    part.seek(SeekFrom::Start(start)).map_err(Attempt::Fatal)?;
    let length = body.content_length();
    if let Some(length) = length {
        bar.set_length(start + length);
    }
    bar.set_position(start);
    let mut reader = body.into_reader();
    let mut buffer = vec![0; 1 << 16];
    let mut received = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                part.write_all(&buffer[..count]).map_err(Attempt::Fatal)?;
                received += count as u64;
                bar.set_position(start + received);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(error)),
        }
    }
    match length {
        Some(length) if received < length => Err(broken(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{url}: {received} of {length} bytes"),
        ))),
        _ => Ok(()),
    }
}

fn broken(error: io::Error) -> Attempt {
    Attempt::Broken(error)
}

fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (start, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    start.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    use super::*;

    const CONTENT: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

    /// Serves `CONTENT`, at most `slice` bytes a connection, and records the ranges asked for.
    struct Server {
        url: String,
        ranges: Arc<Mutex<Vec<Option<usize>>>>,
    }

    impl Server {
        fn start(slice: usize, with_ranges: bool) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/file", listener.local_addr().unwrap());
            let ranges = Arc::new(Mutex::new(Vec::new()));
            let log = Arc::clone(&ranges);
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let _ = serve(stream.unwrap(), slice, with_ranges, &log);
                }
            });
            Self { url, ranges }
        }
    }

    fn serve(
        mut stream: TcpStream,
        slice: usize,
        with_ranges: bool,
        log: &Mutex<Vec<Option<usize>>>,
    ) -> io::Result<()> {
        let mut range = None;
        for line in BufReader::new(stream.try_clone()?).lines() {
            let line = line?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("range: bytes=") {
                range = value.trim_end_matches('-').parse().ok();
            }
        }
        log.lock().unwrap().push(range);
        let start = range.filter(|_| with_ranges);
        let from = start.unwrap_or(0);
        if from >= CONTENT.len() {
            return write!(stream, "HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n");
        }
        let rest = &CONTENT[from..];
        match start {
            Some(from) => write!(
                stream,
                "HTTP/1.1 206 Partial\r\nContent-Range: bytes {from}-{}/{}\r\n",
                CONTENT.len() - 1,
                CONTENT.len()
            )?,
            None => write!(stream, "HTTP/1.1 200 OK\r\n")?,
        }
        write!(
            stream,
            "Content-Length: {}\r\nConnection: close\r\n\r\n",
            rest.len()
        )?;
        stream.write_all(&rest[..slice.min(rest.len())])
    }

    fn part(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn content(mut file: File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn broken_connections_go_on_where_they_stopped() {
        let server = Server::start(15, true);
        let mut file = part(b"");
        download(&server.url, "file", &mut file).unwrap();
        assert_eq!(content(file), CONTENT);
        let ranges = server.ranges.lock().unwrap().clone();
        assert_eq!(ranges, [None, Some(15), Some(30)]);
    }

    #[test]
    fn what_an_earlier_process_left_is_not_asked_for_again() {
        let server = Server::start(100, true);
        let mut file = part(&CONTENT[..7]);
        download(&server.url, "file", &mut file).unwrap();
        assert_eq!(content(file), CONTENT);
        assert_eq!(*server.ranges.lock().unwrap(), [Some(7)]);
    }

    #[test]
    fn complete_part_is_left_as_it_is() {
        let server = Server::start(100, true);
        let mut file = part(CONTENT);
        download(&server.url, "file", &mut file).unwrap();
        assert_eq!(content(file), CONTENT);
    }

    #[test]
    fn server_without_ranges_starts_over() {
        let server = Server::start(100, false);
        let mut file = part(b"other bytes");
        download(&server.url, "file", &mut file).unwrap();
        assert_eq!(content(file), CONTENT);
    }

    #[test]
    fn silent_server_is_given_up_and_the_part_stays() {
        let server = Server::start(0, true);
        let mut file = part(&CONTENT[..7]);
        download(&server.url, "file", &mut file).unwrap_err();
        assert_eq!(content(file), &CONTENT[..7]);
        assert_eq!(server.ranges.lock().unwrap().len(), FRUITLESS as usize);
    }
}
