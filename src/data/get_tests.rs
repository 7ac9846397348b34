#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;

/// What the server does with one request.
#[derive(Clone, Copy)]
enum Serve {
    /// Honours `Range`.
    Ranges,
    /// Sends everything, whatever is asked for.
    Whole,
    /// Promises everything, sends this many bytes and hangs up.
    Broken(usize),
    /// Answers with this status.
    Status(u16),
}

/// Serves one request for `content` for each of `acts`; tells the address, and at the end the
/// `Range` that each request asked for.
fn server(content: &'static [u8], acts: Vec<Serve>) -> (String, std::thread::JoinHandle<Vec<Option<usize>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/file", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        acts.into_iter()
            .map(|act| {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let head: Vec<String> =
                    lines.take_while(|l| !l.is_empty()).map(|l| l.to_lowercase()).collect();
                let range = head
                    .iter()
                    .find_map(|l| l.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok());
                answer(&mut stream, content, act, range);
                range
            })
            .collect()
    });
    (url, thread)
}

fn answer(stream: &mut impl Write, content: &[u8], act: Serve, range: Option<usize>) {
    let (status, from, until) = match (act, range) {
        (Serve::Status(status), _) => (status, 0, 0),
        (Serve::Ranges, Some(from)) if from >= content.len() => (416, 0, 0),
        (Serve::Ranges, Some(from)) => (206, from, content.len()),
        (Serve::Broken(sent), _) => (200, 0, sent),
        _ => (200, 0, content.len()),
    };
    let length = if matches!(act, Serve::Broken(_)) { content.len() } else { until - from };
    write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").unwrap();
    stream.write_all(&content[from..until]).unwrap();
}

fn fetch(url: &str, part: &Path) -> Result<()> {
    http::fetch(url, &mut http::open_alone(part)?, part, &|_, _| {})
}

const CONTENT: &[u8] = b"the quick brown fox jumps over the lazy dog";

#[test]
fn a_broken_download_is_continued() {
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join("part");
    let (url, thread) = server(CONTENT, vec![Serve::Broken(10), Serve::Ranges, Serve::Ranges]);
    assert!(fetch(&url, &part).is_err());
    assert_eq!(fs::read(&part).unwrap(), &CONTENT[..10]);
    fetch(&url, &part).unwrap();
    assert_eq!(fs::read(&part).unwrap(), CONTENT);
    // All is there already: the server has nothing after the end.
    fetch(&url, &part).unwrap();
    assert_eq!(fs::read(&part).unwrap(), CONTENT);
    assert_eq!(thread.join().unwrap(), [None, Some(10), Some(CONTENT.len())]);
}

#[test]
fn a_server_without_ranges_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join("part");
    fs::write(&part, b"an old beginning").unwrap();
    let (url, thread) = server(CONTENT, vec![Serve::Whole]);
    fetch(&url, &part).unwrap();
    assert_eq!(fs::read(&part).unwrap(), CONTENT);
    assert_eq!(thread.join().unwrap(), [Some(16)]);
}

#[test]
fn a_refusal_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join("part");
    let (url, thread) = server(CONTENT, vec![Serve::Status(404)]);
    let error = fetch(&url, &part).unwrap_err().to_string();
    assert!(error.contains(&url) && error.contains("404"), "{error}");
    assert!(!part.exists());
    thread.join().unwrap();
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join("part");
    let held = http::open_alone(&part).unwrap();
    assert!(http::open_alone(&part).unwrap_err().to_string().contains("another process"));
    drop(held);
    http::open_alone(&part).unwrap();
}

#[test]
fn what_is_not_the_data_set_does_not_get_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let (url, thread) = server(CONTENT, vec![Serve::Whole]);
    let (set, into) = (Published::Mnist, dir.path().into());
    let wanted = Wanted { set, into, from: None, mirror: Some(url), offline: false };
    let error = get(&wanted, &|_, _, _| {}).unwrap_err();
    assert!(error.to_string().contains("is not the data set"), "{error}");
    assert_eq!(fs::read_dir(dir.path().join("mnist")).unwrap().count(), 0);
    thread.join().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_of_writing() {
    let mut full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = pour(&mut &CONTENT[..], "from", &mut full, Path::new("to"), |_| {}).unwrap_err();
    assert!(matches!(error, Error::Io { action: "write", .. }), "{error}");
}
