//! `siamese serve`: what a client of the server sees.
#![cfg(all(feature = "serve", feature = "tract"))]

use super::gallery::Bench;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};

/// A server on a free port, ended with the test.
struct Served {
    child: Child,
    address: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    fn new(bench: &Bench, arguments: &[&str]) -> Self {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_siamese"))
            .current_dir(bench.at(""))
            .args(["serve", "g", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_whitespace().nth(1).unwrap_or_default().to_string();
        let served = Self { child, address };
        assert!(served.address.starts_with("http://127.0.0.1:"), "{line}");
        served
    }

    /// Status, headers and body of an answer.
    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .build()
            .into();
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = agent.run(request.body(body).unwrap()).unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_string();
        assert!(
            answer.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'")
        );
        let text = answer.body_mut().read_to_string().unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (answer.status().as_u16(), kind, json)
    }

    /// The JSON of a request that succeeds.
    fn json(&self, method: &str, path: &str, body: &[u8]) -> Value {
        let (status, kind, json) = self.ask(method, path, &[], body);
        assert_eq!((status, kind.as_str()), (200, "application/json"), "{path}: {json}");
        json
    }

    /// Expects a status and these words in the error.
    fn refused(&self, status: u16, words: &str, method: &str, path: &str, body: &[u8]) {
        let (found, _, json) = self.ask(method, path, &[], body);
        let said = json["error"].as_str().unwrap_or_default();
        assert!(found == status && said.contains(words), "{method} {path}: {found} {json}");
    }
}

fn picture(bench: &Bench, name: &str) -> Vec<u8> {
    std::fs::read(bench.at(name)).unwrap()
}

#[test]
fn the_server_answers_as_classify_and_embed_do() {
    let bench = Bench::enrolled();
    let served = Served::new(&bench, &[]);
    for class in ["bar", "box", "dot"] {
        let name = format!("asked/{class}/9.png");
        let found = served.json("POST", "/api/classify?top=2", &picture(&bench, &name));
        let told = &bench.answers(&["g", &name, "--top", "2"])[0];
        for key in ["label", "distance", "margin", "nearest"] {
            assert_eq!(found[key], told[key], "{class} {key}");
        }
        assert_eq!((&found["label"], &found["threshold"]), (&class.into(), &Value::Null));
        assert!(found.get("ink").is_none() && found["milliseconds"].is_number());
    }
    bench.json(&["embed", "t.onnx", "strange.png", "-o", "e.jsonl"]);
    let line: Value = serde_json::from_slice(&picture(&bench, "e.jsonl")).unwrap();
    let embedded = served.json("POST", "/api/embed", &picture(&bench, "strange.png"));
    assert_eq!(embedded["embedding"], line["embedding"]);
    let told = served.json("GET", "/api/gallery", b"");
    assert_eq!(
        (&told["gallery"], &told["distance"], &told["kind"]),
        (&"g".into(), &"l1".into(), &"exact".into())
    );
    assert!(!told.to_string().contains('/'), "{told}");
    assert_eq!(
        (&told["classes"], &told["editable"]),
        (&bench.json(&["list", "g"])["classes"], &false.into())
    );
    let shown = served.json("POST", "/api/classify?ink=true", &picture(&bench, "strange.png"));
    assert!(shown["ink"].as_str().unwrap().starts_with("data:image/png;base64,"));
}

#[test]
fn the_page_comes_with_all_that_it_names() {
    let bench = Bench::enrolled();
    let served = Served::new(&bench, &[]);
    let (status, kind, page) = served.ask("GET", "/", &[], b"");
    assert_eq!((status, kind.as_str()), (200, "text/html; charset=utf-8"));
    for (part, kind) in
        [("page.js", "text/javascript; charset=utf-8"), ("page.css", "text/css; charset=utf-8")]
    {
        assert!(page.as_str().unwrap().contains(&format!("\"{part}\"")), "{part}");
        let (status, found, _) = served.ask("GET", &format!("/{part}"), &[], b"");
        assert_eq!((status, found.as_str()), (200, kind));
    }
}

#[test]
fn a_server_that_may_edit_enrols_and_removes() {
    let bench = Bench::new();
    bench.refused(&["serve", "g"], "cannot open the gallery g");
    bench.refused(&["serve", "g", "--tower", "t.onnx"], "cannot open the gallery g");
    let served = Served::new(&bench, &["--edit", "--tower", "t.onnx"]);
    let (dot, strange) = (picture(&bench, "asked/dot/9.png"), picture(&bench, "strange.png"));
    served.refused(409, "enroll something", "POST", "/api/classify", &dot);
    let done = served.json("POST", "/api/examples?label=a%20dot", &dot);
    assert_eq!((&done["added"], &done["present"]), (&1.into(), &0.into()));
    assert_eq!(served.json("POST", "/api/examples?label=a%20dot", &dot)["present"], 1);
    assert_eq!(served.json("POST", "/api/classify", &strange)["label"], "a dot");
    // What another process enrols counts at once, and it sees what the server enrolled.
    assert_eq!(bench.json(&["enroll", "g", "strange.png"])["classes"], 2);
    assert_eq!(served.json("POST", "/api/classify", &strange)["label"], "strange");
    served.refused(404, "from that source", "DELETE", "/api/examples?label=strange&source=x", b"");
    assert_eq!(served.json("DELETE", "/api/examples?label=strange", b"")["removed"], 1);
    served.refused(404, "not in the gallery", "DELETE", "/api/examples?label=strange", b"");
    assert_eq!(bench.json(&["list", "g"])["classes"][0]["label"], "a dot");
}

/// A form of fields (name, file name, content) with its content type.
fn form(fields: &[(&str, &str, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, file, content) in fields {
        let file = if file.is_empty() { String::new() } else { format!("; filename=\"{file}\"") };
        write!(body, "--cut\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").unwrap();
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--cut--\r\n");
    ("multipart/form-data; boundary=cut".into(), body)
}

#[test]
fn a_form_with_a_file_is_taken_as_the_file() {
    let bench = Bench::new();
    let served = Served::new(&bench, &["--edit", "--tower", "t.onnx"]);
    let dot = picture(&bench, "asked/dot/9.png");
    let send = |path: &str, fields: &[(&str, &str, &[u8])]| {
        let (kind, body) = form(fields);
        let (status, _, json) = served.ask("POST", path, &[("Content-Type", &kind)], &body);
        (status, json)
    };
    let file = ("anything", "a.png", dot.as_slice());
    let (status, done) = send("/api/examples", &[("label", "", b"a dot"), ("source", "", b"mine"), file]);
    assert_eq!((status, &done["added"]), (200, &1.into()), "{done}");
    assert_eq!(bench.json(&["list", "g", "--examples"])["examples"][0]["source"], "mine");
    let (status, found) = send("/api/classify?top=1", &[("image", "", &dot), ("note", "", b"passed over")]);
    assert_eq!((status, &found["label"]), (200, &"a dot".into()));
    let bare = served.json("POST", "/api/embed", &dot);
    assert_eq!(send("/api/embed", &[file]).1, bare);
    for (path, fields, status, words) in [
        ("/api/classify", vec![("note", "", b"no file".as_slice())], 422, "has no file"),
        ("/api/classify", vec![], 422, "has no file"),
        ("/api/classify", vec![file, file], 422, "several files"),
        ("/api/classify", vec![("file", "a.png", b"no picture".as_slice())], 422, "is not a picture"),
        ("/api/examples", vec![file], 400, "field `label`"),
        ("/api/examples", vec![("label", "", b"\xff"), file], 422, "no text"),
    ] {
        let (found, said) = send(path, &fields);
        let why = said["error"].as_str().unwrap_or_default();
        assert!(found == status && why.contains(words), "{path} {words}: {found} {said}");
    }
    for (kind, body) in
        [("multipart/form-data", b"--cut".as_slice()), ("multipart/form-data; boundary=cut", b"--cut\r\nx")]
    {
        let (status, _, said) = served.ask("POST", "/api/classify", &[("Content-Type", kind)], body);
        assert_eq!(status, 400, "{said}");
        assert!(said["error"].as_str().unwrap().contains("curl -F"), "{said}");
    }
    let (kind, large) = form(&[("file", "a.png", &vec![0; 32 << 20])]);
    let (status, _, said) = served.ask("POST", "/api/classify", &[("Content-Type", &kind)], &large);
    assert_eq!((status, said["error"].as_str().unwrap().contains("32 MiB")), (413, true), "{said}");
}

#[test]
fn requests_that_cannot_be_answered_are_told_why() {
    let bench = Bench::enrolled();
    let served = Served::new(&bench, &[]);
    let dot = picture(&bench, "asked/dot/9.png");
    served.refused(422, "the request's body", "POST", "/api/classify", b"no picture");
    served.refused(422, "the request's body", "POST", "/api/classify", &dot[..dot.len() / 2]);
    served.refused(422, "the body is empty", "POST", "/api/embed", b"");
    served.refused(400, "top is 0", "POST", "/api/classify?top=0", &dot);
    served.refused(400, "unknown field", "POST", "/api/classify?tops=1", &dot);
    served.refused(403, "--edit", "POST", "/api/examples?label=x", &dot);
    served.refused(403, "--edit", "DELETE", "/api/examples?label=dot", b"");
    served.refused(404, "page is at /", "GET", "/api/nothing", b"");
    served.refused(405, "another method", "GET", "/api/classify", b"");
    served.refused(413, "32 MiB", "POST", "/api/classify", &vec![0; (32 << 20) + 1]);
    for headers in [("Origin", "http://elsewhere.example"), ("Host", "elsewhere.example")] {
        let (status, _, said) = served.ask("POST", "/api/classify", &[headers], &dot);
        assert_eq!(status, 403, "{headers:?}: {said}");
    }
    assert_eq!(bench.json(&["list", "g"])["classes"].as_array().unwrap().len(), 3);
    let taken = served.address.trim_start_matches("http://");
    bench.refused(&["serve", "g", "--listen", taken], "another address or port");
    bench.refused(&["serve", "g", "--tower", "other.onnx"], "belongs to the tower");
    bench.refused(&["serve", "g", "--threshold", "auto"], "no calibrated threshold");
}

#[test]
fn a_gallery_that_is_damaged_meanwhile_is_the_server_s_own_fault() {
    let bench = Bench::enrolled();
    let served = Served::new(&bench, &[]);
    let mut damaged = picture(&bench, "g");
    damaged[..100].fill(0);
    std::fs::OpenOptions::new().write(true).open(bench.at("g")).unwrap().write_all(&damaged).unwrap();
    served.refused(500, "stderr tells why", "POST", "/api/classify", &picture(&bench, "strange.png"));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_the_server_well() {
    let bench = Bench::enrolled();
    for signal in ["-INT", "-TERM"] {
        let mut served = Served::new(&bench, &[]);
        served.json("GET", "/api/gallery", b"");
        let pid = served.child.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert_eq!(served.child.wait().unwrap().code(), Some(0), "{signal}");
    }
}
