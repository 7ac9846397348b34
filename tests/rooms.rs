//! `src/lib.rs` lists the rooms in the order in which data flows through them; each imports only from those
//! above it.

use std::path::{Path, PathBuf};

/// The rooms in the order of `lib.rs`.
fn rooms(src: &Path) -> Vec<String> {
    let lib = std::fs::read_to_string(src.join("lib.rs")).unwrap();
    let names = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    names.map(str::to_string).collect()
}

/// All source files of a room; its tests may import from anywhere.
fn files(src: &Path, room: &str) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![src.join(format!("{room}.rs")), src.join(room)]);
    while let Some(path) = open.pop() {
        let is_test = path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"));
        if path.is_dir() && !is_test {
            open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") && path.is_file() && !is_test {
            found.push(path);
        }
    }
    found
}

/// The first segments of the paths that begin with `crate`, in a file without its own tests and comments.
fn named(text: &str) -> Vec<String> {
    let code = text.split_once("\n#[cfg(test)]\n").map_or(text, |(code, _)| code);
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    let word = |path: &str| path.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let of_path = |rest: &str| match rest.strip_prefix('{').and_then(|list| list.split_once("};")) {
        Some((list, _)) => list.split(',').map(word).collect(),
        None => vec![word(rest)],
    };
    code.split("crate::").skip(1).flat_map(of_path).collect()
}

/// `path: room` for each import of a room from one that stands below it.
fn upward(src: &Path) -> Vec<String> {
    let rooms = rooms(src);
    let mut found = Vec::new();
    for (place, room) in rooms.iter().enumerate() {
        for file in files(src, room) {
            let text = std::fs::read_to_string(&file).unwrap();
            let below = named(&text).into_iter().filter(|name| rooms[place + 1..].contains(name));
            found.extend(below.map(|name| format!("{}: {name}", file.display())));
        }
    }
    found
}

#[test]
fn rooms_import_only_from_those_above_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert!(rooms(&src).len() > 20, "the rooms of lib.rs were not found");
    let upward = upward(&src);
    assert!(upward.is_empty(), "imports from rooms that stand below:\n{}", upward.join("\n"));
}

#[test]
fn an_import_from_below_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("lib.rs", "pub mod above;\npub mod below;\n");
    write(
        "above.rs",
        "use crate::below::Thing;\n#[cfg(test)]\nmod tests {\n    use crate::below::Other;\n}\n",
    );
    write("below.rs", "use crate::{Error, above};\n");
    assert_eq!(upward(dir.path()).len(), 1);
    write("above.rs", "use crate::{Error, below};\n");
    assert_eq!(upward(dir.path()).len(), 1);
}
