//! `siamese serve`: what a client of the server sees.
#![cfg(all(feature = "serve", feature = "tract"))]

use super::gallery::Bench;
use serde_json::Value;
use siamese::tower::{Distance, TowerKind};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};

/// A server on a free port, ended with the test.
pub struct Served {
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
    pub fn new(bench: &Bench, arguments: &[&str]) -> Self {
        Self::on("127.0.0.1:0", bench, arguments)
    }

    fn on(address: &str, bench: &Bench, arguments: &[&str]) -> Self {
        Self::of("g", address, bench, arguments)
    }

    /// Of a gallery, at an address.
    pub fn of(gallery: &str, address: &str, bench: &Bench, arguments: &[&str]) -> Self {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_siamese"))
            .current_dir(bench.at(""))
            .args(["serve", gallery, "--listen", address])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_whitespace().find(|word| word.starts_with("http://"));
        let address = address.unwrap_or_default().to_string();
        let served = Self { child, address };
        assert!(served.address.starts_with("http://"), "{line}");
        served
    }

    /// Status, headers and body of an answer.
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, String, Value) {
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

    /// The bytes of a file that it has.
    fn bytes(&self, path: &str) -> Vec<u8> {
        let mut answer = ureq::get(format!("{}{path}", self.address)).call().unwrap();
        answer.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap()
    }

    /// The JSON of a request that succeeds.
    pub fn json(&self, method: &str, path: &str, body: &[u8]) -> Value {
        let (status, kind, json) = self.ask(method, path, &[], body);
        assert_eq!((status, kind.as_str()), (200, "application/json"), "{path}: {json}");
        json
    }

    /// Expects a status and these words in the error.
    pub fn refused(&self, status: u16, words: &str, method: &str, path: &str, body: &[u8]) {
        let (found, _, json) = self.ask(method, path, &[], body);
        let said = json["error"].as_str().unwrap_or_default();
        assert!(found == status && said.contains(words), "{method} {path}: {found} {json}");
    }
}

pub fn picture(bench: &Bench, name: &str) -> Vec<u8> {
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
    let page = page.as_str().unwrap();
    assert!(page.contains("\"page.js\"") && page.contains("\"page.css\""));
    for (part, kind) in [
        ("page.css", "text/css; charset=utf-8"),
        ("page.js", "text/javascript; charset=utf-8"),
        ("browser.js", "text/javascript; charset=utf-8"),
        ("server.js", "text/javascript; charset=utf-8"),
        ("siamese.js", "text/javascript; charset=utf-8"),
    ] {
        let (status, found, _) = served.ask("GET", &format!("/{part}"), &[], b"");
        assert_eq!((status, found.as_str()), (200, kind), "{part}");
    }
}

#[test]
fn a_page_can_have_all_that_it_needs_to_recognise_by_itself() {
    let bench = Bench::enrolled();
    let served = Served::new(&bench, &[]);
    bench.json(&["page", "g", "-o", "page"]);
    for (path, file) in [
        ("/api/tower", "page/tower.onnx"),
        ("/api/gallery/file", "page/gallery.safetensors"),
        ("/siamese.wasm", "page/siamese.wasm"),
    ] {
        assert!(served.bytes(path) == std::fs::read(bench.at(file)).unwrap(), "{path}");
    }
    // What others enrol is in it.
    bench.json(&["enroll", "g", "strange.png"]);
    assert!(
        served.bytes("/api/gallery/file") != std::fs::read(bench.at("page/gallery.safetensors")).unwrap()
    );
    std::fs::copy(bench.at("other.onnx"), bench.at("t.onnx")).unwrap();
    served.refused(409, "has changed since the server was started", "GET", "/api/tower", b"");
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

#[test]
fn pictures_that_are_kept_are_shown_small() {
    let bench = Bench::new();
    let served = Served::new(&bench, &["--edit", "--keep-pictures", "--tower", "t.onnx"]);
    let dot = picture(&bench, "asked/dot/9.png");
    served.json("POST", "/api/examples?label=a%20dot&source=mine", &dot);
    assert_eq!(served.json("GET", "/api/gallery", b"")["keeps_pictures"], true);
    let shown = served.json("GET", "/api/examples?label=a%20dot", b"");
    let [example] = shown["examples"].as_array().unwrap().as_slice() else { panic!("{shown}") };
    assert_eq!((&shown["label"], &example["source"]), (&"a dot".into(), &"mine".into()));
    assert!(example["thumbnail"].as_str().unwrap().starts_with("data:image/png;base64,"), "{example}");
    for (path, status, words) in [
        ("?label=other", 404, "not in the gallery"),
        ("?label=a%20dot&most=0", 400, "1 to 64"),
        ("", 400, "label"),
    ] {
        served.refused(status, words, "GET", &format!("/api/examples{path}"), b"");
    }
    // Whoever comes through a proxy is not this machine.
    let proxied = [("X-Forwarded-For", "10.0.0.1")];
    assert_eq!(served.ask("GET", "/api/examples?label=a%20dot", &proxied, b"").0, 403);
    // The gallery can go over to another tower with what the server enrolled.
    let done = bench.json(&["migrate", "g", "--tower", "other.onnx"]);
    assert_eq!((&done["examples"], &done["kept"]), (&1.into(), &1.into()));
    // Without kept pictures there is nothing to show but where they came from.
    bench.json(&["enroll", "plain", "known", "--tower", "t.onnx"]);
    let served = Served::of("plain", "127.0.0.1:0", &bench, &[]);
    let shown = served.json("GET", "/api/examples?label=dot&most=2", b"");
    let thumbnails: Vec<_> = shown["examples"].as_array().unwrap().iter().map(|e| &e["thumbnail"]).collect();
    assert_eq!(thumbnails, [&Value::Null; 2]);
}

#[test]
fn a_compatible_tower_answers_and_enrols_nothing() {
    let bench = Bench::enrolled();
    super::towers::squares(&bench.at("float.onnx"), 16, 4, TowerKind::Float, Distance::L1);
    super::towers::compatible(&bench.at("new.onnx"), &bench.at("float.onnx"), &bench.at("t.onnx"));
    let served = Served::new(&bench, &["--edit", "--tower", "new.onnx"]);
    let dot = picture(&bench, "asked/dot/9.png");
    assert_eq!(served.json("POST", "/api/classify", &dot)["label"], "dot");
    let told = served.json("GET", "/api/gallery", b"");
    assert_eq!((&told["tower"], &told["asked_by"]), (&"squares".into(), &"newer".into()));
    assert_ne!(told["tower_sha256"], told["asked_by_sha256"]);
    served.refused(409, "may ask it, but", "POST", "/api/examples?label=dot", &dot);
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
        ("/api/classify", vec![file, file], 422, "several pictures"),
        ("/api/classify", vec![("file", "a.png", b"no picture".as_slice())], 422, "is not a picture"),
        ("/api/examples", vec![file], 400, "field `label`"),
        ("/api/examples", vec![("label", "", b"\xff"), file], 422, "no text"),
        ("/api/examples", vec![("label", "", b"a"), ("label", "", b"b"), file], 422, "more than once"),
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

#[test]
fn several_pictures_are_answered_together_and_a_bad_one_spoils_none() {
    let bench = Bench::enrolled();
    let served = Served::new(&bench, &[]);
    let [bar, dot] = ["bar", "dot"].map(|class| picture(&bench, &format!("asked/{class}/9.png")));
    let (kind, body) =
        form(&[("file", "bar.png", &bar), ("file", "bad.png", b"no picture"), ("file", "dot.png", &dot)]);
    let (status, _, batch) =
        served.ask("POST", "/api/classify/batch?top=1", &[("Content-Type", &kind)], &body);
    assert_eq!(status, 200, "{batch}");
    let answers = batch["answers"].as_array().unwrap();
    let one = |name: &str, picture: &[u8]| {
        let mut answer = served.json("POST", "/api/classify?top=1", picture);
        let parts = answer.as_object_mut().unwrap();
        for key in ["threshold", "stale", "milliseconds"] {
            assert!(parts.remove(key).is_some(), "{key}");
        }
        parts.insert("name".into(), name.into());
        answer
    };
    assert_eq!((&answers[0], &answers[2]), (&one("bar.png", &bar), &one("dot.png", &dot)));
    assert_eq!(answers[1]["name"], "bad.png");
    assert!(answers[1]["error"].as_str().unwrap().contains("not a picture"), "{batch}");
    let encoded = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let body =
        serde_json::json!({"pictures": [{"name": "b", "data": encoded(&bar)}, {"data": encoded(&dot)}]});
    let json = [("Content-Type", "application/json")];
    let send = |body: &[u8]| served.ask("POST", "/api/classify/batch", &json, body);
    let (status, _, batch) = send(body.to_string().as_bytes());
    assert_eq!(
        (status, &batch["answers"][0]["label"], &batch["answers"][1]["label"]),
        (200, &"bar".into(), &"dot".into())
    );
    for (body, status, words) in [
        ("{", 400, "JSON"),
        (r#"{"pictures": []}"#, 422, "no picture"),
        (r#"{"pictures": [{"data": "*"}]}"#, 422, "base64"),
        (r#"{"pictures": [], "more": 1}"#, 400, "unknown field"),
    ] {
        let (found, _, said) = send(body.as_bytes());
        assert!(found == status && said["error"].as_str().unwrap().contains(words), "{body}: {found} {said}");
    }
    let many: Vec<_> = (0..257).map(|_| serde_json::json!({"data": ""})).collect();
    let (found, _, said) = send(serde_json::json!({ "pictures": many }).to_string().as_bytes());
    assert!(found == 422 && said["error"].as_str().unwrap().contains("at most 256"), "{said}");
}

#[test]
fn a_request_may_choose_its_threshold_and_compare_two_pictures() {
    let bench = Bench::enrolled();
    let served = Served::new(&bench, &[]);
    let strange = picture(&bench, "strange.png");
    let dot = picture(&bench, "asked/dot/9.png");
    let none = served.json("POST", "/api/classify?threshold=none", &strange);
    assert!(none["label"].is_string() && none["threshold"].is_null());
    let near = served.json("POST", "/api/classify?threshold=0", &strange);
    assert_eq!((&near["label"], &near["threshold"]), (&Value::Null, &0.0.into()));
    served.refused(400, "threshold", "POST", "/api/classify?threshold=far", &strange);
    let compare = |query: &str, a: &[u8], b: &[u8]| {
        let (kind, body) = form(&[("file", "a.png", a), ("file", "b.png", b)]);
        let (status, _, said) =
            served.ask("POST", &format!("/api/verify{query}"), &[("Content-Type", &kind)], &body);
        (status, said)
    };
    let (status, same) = compare("?threshold=0", &dot, &dot);
    assert_eq!((status, &same["same"], &same["distance"]), (200, &true.into(), &0.0.into()));
    let (_, apart) = compare("?threshold=0", &dot, &strange);
    assert_eq!(apart["same"], false);
    let told = bench.run(&[
        "verify",
        "asked/dot/9.png",
        "strange.png",
        "--tower",
        "t.onnx",
        "--threshold",
        "0",
        "--json",
    ]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(apart["distance"], told["pairs"][0]["distance"]);
    let (status, said) = compare("", &dot, &dot);
    assert!(status == 409 && said["error"].as_str().unwrap().contains("no threshold"), "{said}");
    served.refused(422, "got 1", "POST", "/api/verify?threshold=1", &dot);
}

#[test]
fn operators_see_health_figures_and_a_description() {
    let bench = Bench::enrolled();
    let served = Served::new(&bench, &["--log", "log"]);
    assert_eq!(served.json("GET", "/healthz", b"")["status"], "ok");
    let strange = picture(&bench, "strange.png");
    served.json("POST", "/api/classify?threshold=0", &strange);
    served.json("POST", "/api/classify", &strange);
    served.ask("GET", "/made/up", &[], b"");
    let (status, kind, text) = served.ask("GET", "/metrics", &[], b"");
    assert!(status == 200 && kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = text.as_str().unwrap().to_string();
    let classes = bench.json(&["list", "g"])["classes"].as_array().unwrap().len();
    for line in [
        "siamese_requests_total{method=\"POST\",path=\"/api/classify\",status=\"200\"} 2".to_string(),
        "siamese_requests_total{method=\"GET\",path=\"other\",status=\"404\"} 1".into(),
        "siamese_answers_total{known=\"false\"} 1".into(),
        "siamese_answers_total{known=\"true\"} 1".into(),
        format!("siamese_gallery_classes {classes}"),
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    let document = served.json("GET", "/api/openapi.json", b"");
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for path in [
        "/healthz",
        "/metrics",
        "/api/gallery",
        "/api/classify",
        "/api/classify/batch",
        "/api/verify",
        "/api/embed",
        "/api/examples",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    let log = String::from_utf8(picture(&bench, "log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[1]["path"], &lines[1]["status"]), (&"/api/classify".into(), &200.into()));
    assert_eq!(lines[1]["body_bytes"], strange.len());
    assert!(!log.contains("threshold"), "what follows a question mark is not told: {log}");
}

#[test]
fn with_a_token_nothing_is_told_or_changed_without_it() {
    let bench = Bench::enrolled();
    std::fs::write(bench.at("token"), "0123456789abcdef0123\n").unwrap();
    std::fs::write(bench.at("short"), "0123\n").unwrap();
    bench.refused(&["serve", "g", "--token-file", "short"], "at least 16");
    bench.refused(&["serve", "g", "--token-file", "absent"], "absent");
    let served = Served::new(&bench, &["--edit", "--token-file", "token"]);
    let dot = picture(&bench, "asked/dot/9.png");
    served.refused(401, "Authorization", "POST", "/api/classify", &dot);
    served.refused(401, "Authorization", "DELETE", "/api/examples?label=dot", b"");
    assert_eq!(served.json("GET", "/healthz", b"")["status"], "ok");
    let token = [("Authorization", "Bearer 0123456789abcdef0123")];
    let (status, _, found) = served.ask("POST", "/api/classify", &token, &dot);
    assert_eq!((status, &found["label"]), (200, &"dot".into()));
    let proxied = [token[0], ("X-Forwarded-For", "10.0.0.1")];
    assert_eq!(served.ask("DELETE", "/api/examples?label=dot", &proxied, b"").0, 200);
}

#[test]
fn without_a_token_only_this_machine_changes_things() {
    let bench = Bench::enrolled();
    let served = Served::new(&bench, &["--edit", "--allow-host", "known.example"]);
    let proxied = [("X-Forwarded-For", "10.0.0.1"), ("Host", "known.example")];
    let (status, _, said) = served.ask("DELETE", "/api/examples?label=dot", &proxied, b"");
    assert!(status == 403 && said["error"].as_str().unwrap().contains("--token-file"), "{said}");
    assert_eq!(served.ask("GET", "/api/gallery", &proxied, b"").0, 200);
    assert_eq!(served.json("DELETE", "/api/examples?label=dot", b"")["removed"], 3);
}

#[test]
fn silent_clients_keep_nobody_out() {
    let bench = Bench::enrolled();
    let served = Served::new(&bench, &["--max-connections", "4"]);
    let dot = picture(&bench, "asked/dot/9.png");
    let address = served.address.trim_start_matches("http://");
    let halves: [&[u8]; 3] =
        [b"", b"GET / HT", b"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nx"];
    let silent: Vec<_> = (0..30)
        .map(|i| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            // Those that were cut off already do not take more.
            let _ = stream.write_all(halves[i % 3]);
            stream
        })
        .collect();
    for _ in 0..5 {
        assert_eq!(served.json("POST", "/api/classify", &dot)["label"], "dot");
    }
    drop(silent);
}
