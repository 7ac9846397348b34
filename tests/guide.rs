//! The guide in `docs/`: its chapters, and every command in them, run in order in a folder of their own.
#![cfg(all(unix, feature = "ort", feature = "tract", feature = "serve"))]

use prost::Message;
use siamese::tower::TowerSpec;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The port that the guide's commands name; each run takes a free one in its place.
const PORT: &str = "8080";
/// The most blocks of the whole guide that are not run.
const NOT_RUN: usize = 5;

/// What the blocks are called whose commands need a database, and its address in them.
const POSTGRES: &str = "sh postgres";
const ADDRESS: &str = "postgres://me@db.example/shop";

/// A block of code: its language and what more its first line says, and its lines.
struct Block {
    info: String,
    text: String,
}

fn chapter(name: &str) -> Vec<Block> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    blocks(&text)
}

fn blocks(text: &str) -> Vec<Block> {
    let (mut found, mut open) = (Vec::new(), None::<Block>);
    for line in text.lines() {
        match (open.as_mut(), line.strip_prefix("```")) {
            (None, Some(info)) => open = Some(Block { info: info.into(), text: String::new() }),
            (Some(_), Some("")) => found.extend(open.take()),
            (Some(block), _) => block.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block of code has no end");
    found
}

/// Whether a block is to be run. Those of commands that cannot be run say why.
fn runs(block: &Block) -> bool {
    match block.info.as_str() {
        "sh" => true,
        "python" | "ini" | "js" | POSTGRES => false,
        other => match other.strip_prefix("sh not run: ") {
            Some(why) if why.len() > 10 => false,
            _ => panic!("```{other} is neither sh, nor says `sh not run: WHY`"),
        },
    }
}

/// All commands of a chapter as one script, which stops at the first that fails.
fn script(blocks: &[Block]) -> String {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let commands = blocks.iter().filter(|block| runs(block)).map(|block| block.text.replace(PORT, &free));
    // What was started in the background must not outlive it.
    format!("set -eux\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{}", commands.collect::<String>())
}

/// Runs a chapter's commands with the program alone, by its name.
fn run(name: &str) {
    run_in(&tempfile::tempdir().unwrap(), name);
}

fn run_in(dir: &TempDir, name: &str) {
    run_blocks(dir, name, &chapter(name));
}

fn run_blocks(dir: &TempDir, name: &str, blocks: &[Block]) {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_siamese"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.current_dir(dir.path()).env("PATH", path).env_remove("SIAMESE_DATA");
    let output = shell.arg("-c").arg(script(blocks)).output().unwrap();
    let [told, traced] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "docs/{name}: {}\n{told}\n{traced}", output.status);
}

#[test]
fn from_a_folder_of_pictures_to_a_recogniser() {
    run("recogniser.md");
}

#[test]
fn bring_your_own_model() {
    let dir = tempfile::tempdir().unwrap();
    // The chapter begins with an ONNX file from elsewhere: here a tower that tells nothing about itself.
    let (_, mut model) = TowerSpec::read("omniglot-edge").unwrap();
    model.metadata_props.clear();
    std::fs::write(dir.path().join("model.onnx"), model.encode_to_vec()).unwrap();
    run_in(&dir, "own-model.md");
}

#[test]
fn two_machines_answer_alike() {
    run("two-machines.md");
}

#[test]
fn deploy_on_an_edge_box() {
    run("edge.md");
}

#[test]
fn recognise_in_a_browser() {
    run("browser.md");
}

#[test]
fn what_the_numbers_mean() {
    run("numbers.md");
}

/// With `SIAMESE_POSTGRES`, the address of a database; `fixtures/postgres.sh` starts one.
#[test]
#[ignore = "needs a PostgreSQL server"]
fn postgres_deploy_for_a_team() {
    let server = std::env::var("SIAMESE_POSTGRES").expect("SIAMESE_POSTGRES is the address of a database");
    let mut blocks = chapter("deploy.md");
    for block in blocks.iter_mut().filter(|block| block.info == POSTGRES) {
        block.info = "sh".into();
        // Galleries of this run alone.
        let name = format!("guide-{}", std::process::id());
        let text = block.text.replace(&format!("{ADDRESS}?gallery="), &format!("{server}?gallery={name}-"));
        block.text = text.replace(ADDRESS, &format!("{server}?gallery={name}"));
    }
    run_blocks(&tempfile::tempdir().unwrap(), "deploy.md", &blocks);
}

#[test]
fn few_commands_are_not_run_and_all_chapters_are_linked() {
    let chapters = [
        "recogniser.md",
        "own-model.md",
        "two-machines.md",
        "edge.md",
        "browser.md",
        "deploy.md",
        "numbers.md",
    ];
    let all: Vec<Block> = chapters.iter().flat_map(|name| chapter(name)).collect();
    let (run, not): (Vec<_>, Vec<_>) =
        all.iter().filter(|b| b.info.starts_with("sh") && b.info != POSTGRES).partition(|block| runs(block));
    assert!(run.len() > 20 && not.len() <= NOT_RUN, "{} are run, {} are not", run.len(), not.len());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    assert!(chapters.iter().all(|name| readme.contains(&format!("(docs/{name})"))));
    for file in std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()) {
        links(&file);
    }
    links(&root.join("README.md"));
}

/// That every link of a page inside the repository leads somewhere, its heading included.
fn links(page: &Path) {
    let text = std::fs::read_to_string(page).unwrap();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    for target in targets.filter(|target| !target.contains("://")) {
        let (file, heading) = target.split_once('#').unwrap_or((target, ""));
        let path = if file.is_empty() { page.into() } else { page.parent().unwrap().join(file) };
        assert!(path.exists(), "{}: {target} is not there", page.display());
        if !heading.is_empty() {
            let there = std::fs::read_to_string(&path).unwrap();
            let mut headings = there.lines().filter(|line| line.starts_with('#')).map(anchor);
            assert!(
                headings.any(|found| found == heading),
                "{}: {target} has no such heading",
                page.display()
            );
        }
    }
}

/// What a heading is called in links.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|c| c.is_alphanumeric() || " -".contains(*c));
    kept.collect::<String>().replace(' ', "-")
}

#[test]
fn a_command_that_fails_would_be_found() {
    let failing =
        blocks("```sh\ntrue\n```\ntext\n```sh not run: it takes hours\nfalse\n```\n```sh\nfalse\n```\n");
    let status = |blocks: &[Block]| Command::new("sh").arg("-c").arg(script(blocks)).output().unwrap().status;
    assert!(status(&failing[..2]).success() && !status(&failing).success());
}
