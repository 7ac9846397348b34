//! Galleries in PostgreSQL, as a user has them. `SIAMESE_POSTGRES` is the address of a database;
//! `fixtures/postgres.sh` starts one.
#![cfg(feature = "tract")]

use super::gallery::{Bench, keeps, migrates};
use std::process::Output;
#[cfg(feature = "serve")]
use {super::serve::Served, super::serve::picture, serde_json::Value};

/// The gallery in a file beside one in the database.
const FILE: &str = "gallery-file";

/// The address of a gallery that is not there yet.
fn fresh(name: &str) -> String {
    format!("{}?gallery=cli-{name}-{}", server(), std::process::id())
}

fn server() -> String {
    std::env::var("SIAMESE_POSTGRES").expect("SIAMESE_POSTGRES is the address of a database")
}

fn password() -> String {
    let server = server();
    let user = server.split_once("://").unwrap().1.split_once('@').unwrap().0;
    user.split_once(':').expect("the test server asks for a password").1.to_string()
}

/// Everything that is told, without the password in it.
fn told(output: &Output) -> String {
    let told =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    assert!(!told.contains(&password()), "{told}");
    told
}

/// What is told of a gallery, but for what it is called.
fn same(one: &Output, other: &Output, names: [&str; 2]) {
    let [one, other] =
        [(one, names[0]), (other, names[1])].map(|(output, name)| told(output).replace(name, "G"));
    assert_eq!(one, other);
}

#[test]
#[ignore = "needs a PostgreSQL server"]
fn postgres_galleries_do_what_files_do() {
    let (bench, at) = (Bench::new(), fresh("does"));
    let shown = at.replace(&format!(":{}@", password()), "@");
    let both = |verb: &[&str], rest: &[&str]| {
        let run = |gallery| bench.run(&[verb, &[gallery], rest].concat());
        let (file, there) = (run(FILE), run(at.as_str()));
        assert_eq!(file.status.code(), there.status.code(), "{verb:?}: {}", told(&there));
        same(&file, &there, [FILE, &shown]);
        there
    };
    bench.refused(&["list", &at], "there is none");
    both(&["enroll"], &["known", "--tower", "t.onnx"]);
    both(&["enroll"], &["known"]);
    both(&["classify"], &["asked", "strange.png"]);
    both(&["classify"], &["asked", "strange.png", "--shots", "mean", "--json"]);
    for verb in [&["calibrate"][..], &["list"], &["list", "--json"], &["list", "--examples"]] {
        let output = bench.run(&[verb, &[at.as_str()]].concat());
        assert!(output.status.success(), "{verb:?}: {}", told(&output));
    }
    assert!(bench.run(&["calibrate", FILE]).status.success());
    both(&["classify"], &["asked", "strange.png"]);
    // The index knows as much, and says how sure it is.
    bench.refused(&["index", FILE], "needs no index");
    let index = bench.json(&["index", &at]);
    assert_eq!(
        (&index["index"]["recall_at_1"]["share"], &index["gallery"]),
        (&1.0.into(), &shown.as_str().into())
    );
    let (whole, indexed) = (bench.run(&["classify", FILE, "asked"]), bench.run(&["classify", &at, "asked"]));
    let lines = |output: &Output| told(output).lines().take(4).map(String::from).collect::<Vec<_>>();
    assert_eq!(lines(&whole), lines(&indexed));
    assert!(told(&indexed).contains("the index finds the nearest example of 100.00"), "{}", told(&indexed));
    same(&whole, &bench.run(&["classify", &at, "asked", "--exact"]), [FILE, &shown]);
    assert!(told(&bench.run(&["list", &at])).contains("HNSW of 9 examples"));
    bench.json(&["index", &at, "--drop"]);
    both(&["remove"], &["bar"]);
    both(&["classify"], &["asked"]);
    let verified = bench.run(&["verify", "asked/box/9.png", "known/box/0.png", "--gallery", &at]);
    assert_eq!(verified.status.code(), Some(0), "{}", told(&verified));
    let usual = bench.run(&["verify", "asked/box/9.png", "known/box/0.png", "--gallery", FILE]);
    assert_eq!(told(&usual), told(&verified));
}

#[test]
#[ignore = "needs a PostgreSQL server"]
fn postgres_galleries_merge_with_files_both_ways() {
    let (bench, at) = (Bench::enrolled(), fresh("merges"));
    bench.json(&["enroll", &at, "strange.png", "--tower", "t.onnx"]);
    assert_eq!(bench.json(&["merge", &at, "g"])["added"], 9);
    assert_eq!(bench.json(&["merge", &at, "g"])["present"], 9);
    assert_eq!(bench.json(&["merge", "g", &at])["added"], 1);
    bench.json(&["enroll", "copy", "strange.png", "--tower", "t.onnx"]);
    bench.json(&["merge", "copy", &at]);
    let examples = |gallery: &str| {
        let mut examples = bench.json(&["list", gallery, "--examples"])["examples"].clone();
        // The first was enrolled twice, perhaps not within one second.
        examples[0].as_object_mut().unwrap().remove("added_unix_s");
        examples
    };
    assert_eq!(examples("copy"), examples(&at));
    bench.json(&["enroll", "h", "known", "--tower", "other.onnx"]);
    bench.refused(&["merge", &at, "h"], "belongs to the tower");
    bench.refused(&["classify", &at, "asked", "--tower", "other.onnx"], "belongs to the tower");
}

#[test]
#[ignore = "needs a PostgreSQL server"]
fn postgres_galleries_go_over_to_another_tower() {
    migrates(&fresh("migrates"), &fresh("anew"));
}

#[test]
#[ignore = "needs a PostgreSQL server"]
fn postgres_galleries_with_their_pictures_go_over_by_themselves() {
    keeps(&fresh("keeps"), &fresh("kept-anew"));
}

#[test]
#[ignore = "needs a PostgreSQL server"]
fn postgres_servers_that_cannot_be_used_are_told_without_the_password() {
    let bench = Bench::enrolled();
    let (server, password) = (server(), password());
    let database = server.rsplit_once('/').unwrap().0;
    let port = database.rsplit_once(':').unwrap().1;
    for (address, code, words) in [
        (server.replace(&password, "wrong"), 2, "does not let this user in"),
        (server.replace(&format!(":{password}@"), "@"), 2, "asks for a password"),
        (format!("{database}/nowhere"), 2, "has no such database"),
        (server.replace(port, "1"), 3, "cannot be reached"),
        (format!("{server}?gallery=No"), 2, "a gallery's name"),
        (format!("{server}?sslmode=require"), 2, "asks for TLS"),
    ] {
        for verb in [&["list", address.as_str()][..], &["enroll", &address, "known", "--tower", "t.onnx"]] {
            let mut command = bench.command(verb);
            command.env_remove("PGPASSWORD").env("PGPASSFILE", bench.at("none"));
            let output = command.output().unwrap();
            let said = told(&output);
            assert!(output.status.code() == Some(code) && said.contains(words), "{verb:?}: {said}");
        }
    }
    // The password by the environment, and by a file that nobody else can read.
    let (address, file) = (fresh("password").replace(&format!(":{password}@"), "@"), bench.at("pgpass"));
    std::fs::write(&file, format!("*:*:*:*:{password}\n")).unwrap();
    let enroll = ["enroll", &address, "known", "--tower", "t.onnx"];
    let by = |name: &str, value: &std::ffi::OsStr| {
        let mut command = bench.command(&enroll);
        command.env_remove("PGPASSWORD").env("PGPASSFILE", bench.at("none")).env(name, value);
        let output = command.output().unwrap();
        told(&output);
        output.status.success()
    };
    assert!(by("PGPASSWORD", password.as_ref()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert!(!by("PGPASSFILE", file.as_os_str()));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert!(by("PGPASSFILE", file.as_os_str()));
}

/// Two servers of one gallery: what one enrols or removes, the other knows at the next request, by an index or not.
#[cfg(feature = "serve")]
#[test]
#[ignore = "needs a PostgreSQL server"]
fn postgres_servers_of_one_gallery_see_each_other() {
    let (bench, at) = (Bench::new(), fresh("served"));
    bench.json(&["enroll", &at, "known", "--tower", "t.onnx"]);
    let served = || Served::of(&at, "127.0.0.1:0", &bench, &["--edit"]);
    let (one, two) = (served(), served());
    let strange = picture(&bench, "strange.png");
    let label = |of: &Served| of.json("POST", "/api/classify", &strange)["label"].clone();
    for indexed in [false, true] {
        if indexed {
            bench.json(&["index", &at]);
            let answer = one.json("POST", "/api/classify", &strange);
            assert_eq!(answer["recall_at_1"], 1.0);
        }
        assert_ne!(label(&two), "new");
        for round in 0..20 {
            let done = one.json("POST", "/api/examples?label=new", &strange);
            assert_eq!(done["added"], 1, "{round}");
            assert_eq!(label(&two), "new", "{round}");
            assert_eq!(two.json("DELETE", "/api/examples?label=new", b"")["removed"], 1);
            assert_ne!(label(&one), "new", "{round}");
        }
    }
    let told = one.json("GET", "/api/gallery", b"");
    assert!(told["gallery"].as_str().unwrap().starts_with("cli-served-"), "{told}");
    assert!(!told.to_string().contains(&password()));
    // Once it is of another tower, a server of this one answers no more, and enrols nothing.
    bench.json(&["migrate", &at, "--tower", "other.onnx"]);
    let (status, _, said) = two.ask("POST", "/api/classify", &[], &strange);
    assert!(status == 409 && said.to_string().contains("belongs to the tower"), "{said}");
    let (status, _, said) = two.ask("POST", "/api/examples?label=new", &[], &strange);
    assert!(status == 409 && said.to_string().contains("belongs to the tower"), "{said}");
    let classes = bench.json(&["list", &at])["classes"].clone();
    assert!(!classes.as_array().unwrap().iter().any(|class: &Value| class["label"] == "new"));
}
