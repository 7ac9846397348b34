//! Fetches a package through the user's own `pip` or `uv`, so that their index and proxy are used.

use super::package::Package;
use super::wheel::PYTHON;
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where wheels come from.
pub trait Source {
    /// How it is called in messages: `pip`.
    fn name(&self) -> String;

    /// Asked before anything is written: whether it can fetch at all.
    ///
    /// # Errors
    /// When it never will.
    fn ready(&self, _: &Package<'_>) -> Result<()> {
        Ok(())
    }

    /// Fetches the package into the folder `into`.
    ///
    /// # Errors
    /// With the tool's own last words.
    fn fetch(&self, package: &Package<'_>, into: &Path) -> Result<Fetched>;
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The wheel's file, not checked yet.
    Wheel(PathBuf),
    /// The package's contents, unpacked below this folder by a tool that checked the recorded
    /// hash itself, where there is one.
    Tree(PathBuf),
}

/// Fetches nothing: for `--offline`, and for what is there already.
#[derive(Clone, Copy, Debug)]
pub struct Nowhere;

impl Source for Nowhere {
    fn name(&self) -> String {
        "nothing".into()
    }

    fn ready(&self, package: &Package<'_>) -> Result<()> {
        let what = format!("{} is not in the cache, and may not be fetched", package.requirement);
        Err(Error::missing(what, format!("leave --offline out, or {}", package.otherwise)))
    }

    fn fetch(&self, package: &Package<'_>, into: &Path) -> Result<Fetched> {
        self.ready(package).map(|()| Fetched::Tree(into.into()))
    }
}

/// The user's tools, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `PROGRAM -m pip` or `PROGRAM`.
    Pip(&'static [&'static str]),
    /// `uv pip`.
    Uv,
}

const TOOLS: &[Tool] = &[
    Tool::Pip(&["python3", "-m", "pip"]),
    Tool::Pip(&["pip3"]),
    Tool::Pip(&["pip"]),
    Tool::Pip(&["python", "-m", "pip"]),
    Tool::Uv,
];

impl Tool {
    /// The first that answers, to fetch this package.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is none.
    pub fn find(package: &Package<'_>) -> Result<Self> {
        TOOLS.iter().copied().find(|tool| tool.answers()).ok_or_else(|| {
            let what = format!("neither pip nor uv was found to fetch {} with", package.requirement);
            Error::missing(what, format!("install Python with pip, or uv, or {}", package.otherwise))
        })
    }

    fn command(self) -> Command {
        let words = match self {
            Self::Pip(words) => words,
            Self::Uv => &["uv", "pip"],
        };
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command
    }

    fn answers(self) -> bool {
        let mut command = match self {
            Self::Pip(_) => self.command(),
            Self::Uv => Command::new("uv"),
        };
        let command =
            command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// The whole command for a package.
    fn fetching(self, package: &Package<'_>, into: &Path) -> Result<Command> {
        let mut command = self.command();
        match self {
            Self::Pip(_) => {
                command.args(["download", "--no-deps", "--only-binary=:all:", "--no-input"]);
                command.args(["--disable-pip-version-check", "--progress-bar=off", "--retries=2"]);
                command.args(["--implementation=cp", "--python-version", PYTHON]);
                package.platforms.iter().for_each(|tag| {
                    command.args(["--platform", tag]);
                });
                command.arg("--dest").arg(into).arg(&package.requirement);
            }
            Self::Uv => {
                // uv cannot download a wheel; it can unpack one, and check its hash before.
                let list = into.join("requirements.txt");
                let mut text = package.requirement.clone();
                package.hashes.iter().for_each(|hash| text += &format!(" --hash=sha256:{hash}"));
                std::fs::write(&list, text).map_err(Error::io("write", &list))?;
                command.args([
                    "install",
                    "--no-deps",
                    "--only-binary=:all:",
                    "--link-mode=copy",
                    "--no-progress",
                ]);
                command.args(["--python-version", PYTHON]);
                if !package.hashes.is_empty() {
                    command.arg("--require-hashes");
                }
                command.arg("--target").arg(into.join("tree")).arg("--requirements").arg(list);
            }
        }
        Ok(command)
    }
}

impl Source for Tool {
    fn name(&self) -> String {
        match self {
            Self::Pip(_) => "pip".into(),
            Self::Uv => "uv".into(),
        }
    }

    fn fetch(&self, package: &Package<'_>, into: &Path) -> Result<Fetched> {
        let output = self.fetching(package, into)?.output().map_err(Error::io("run", self.name()))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(failed(&self.name(), package, &words));
        }
        if *self == Self::Uv {
            return Ok(Fetched::Tree(into.join("tree")));
        }
        let entries = std::fs::read_dir(into).map_err(Error::io("read", into))?;
        let wheels = entries.flatten().map(|entry| entry.path());
        let found = wheels.into_iter().find(|path| path.extension().is_some_and(|end| end == "whl"));
        found.map(Fetched::Wheel).ok_or_else(|| failed(&self.name(), package, "it left no wheel"))
    }
}

/// The tool's last words, which hold the reason.
fn failed(tool: &str, package: &Package<'_>, words: &str) -> Error {
    let full = words.contains("No space left on device") || words.contains("os error 28");
    let fix = if full {
        "the disk is full: free space there, and run it again; nothing was left behind".into()
    } else {
        format!("check the network, the index that it uses and the version, or {}", package.otherwise)
    };
    Error::Missing {
        what: format!("{tool} could not fetch {}", package.requirement),
        fix,
        source: Some(last_words(words).into()),
    }
}

/// The lines that a tool marks as errors, or else its last one; never pages of them.
fn last_words(words: &str) -> String {
    const MOST: usize = 600;
    let lines = || words.lines().map(str::trim).filter(|line| !line.is_empty());
    let marked: Vec<_> = lines().filter(|line| line.to_lowercase().starts_with("error")).collect();
    let told =
        if marked.is_empty() { lines().next_back().unwrap_or_default().into() } else { marked.join(" / ") };
    match told.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} …", &told[..end]),
        None => told,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::runtime::provision::Wheel;

    fn words(tool: Tool, wheel: &Wheel, into: &Path) -> Vec<String> {
        let command = tool.fetching(&wheel.as_package(&|_| true), into).unwrap();
        command.get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn pip_is_asked_for_one_binary_wheel_of_this_version() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = Wheel { cuda: true, version: "1.31.1".into(), platforms: &["win_amd64"] };
        let words = words(Tool::Pip(&["python3", "-m", "pip"]), &wheel, folder.path());
        assert_eq!(words[..3], ["-m", "pip", "download"]);
        assert_eq!(words.last().unwrap(), "onnxruntime-gpu==1.31.1");
        for needed in ["--no-deps", "--only-binary=:all:", "--no-input", "win_amd64"] {
            assert!(words.iter().any(|word| word == needed), "{needed} in {words:?}");
        }
    }

    #[test]
    fn uv_checks_the_recorded_hash_itself() {
        let folder = tempfile::tempdir().unwrap();
        let known = Wheel { cuda: false, version: "1.32.0".into(), platforms: &["win_amd64"] };
        assert!(words(Tool::Uv, &known, folder.path()).iter().any(|word| word == "--require-hashes"));
        let text = std::fs::read_to_string(folder.path().join("requirements.txt")).unwrap();
        assert_eq!(text, format!("onnxruntime==1.32.0 --hash=sha256:{}", known.hashes()[0]));
        let unknown = Wheel { version: "1.30.0".into(), ..known };
        assert!(!words(Tool::Uv, &unknown, folder.path()).iter().any(|word| word == "--require-hashes"));
    }

    #[test]
    fn errors_are_told_and_not_what_is_around_them() {
        assert_eq!(
            last_words("WARNING: retrying\nERROR: no such version\nnotice: x\n"),
            "ERROR: no such version"
        );
        assert_eq!(last_words("a\n  it broke\n\n"), "it broke");
        assert_eq!(last_words(""), "");
        assert!(last_words(&"é".repeat(5000)).chars().count() < 610);
    }

    #[test]
    fn a_full_disk_is_told() {
        let wheel = Wheel { cuda: false, version: "1.32.0".into(), platforms: &["win_amd64"] };
        let error =
            failed("pip", &wheel.as_package(&|_| true), "x\nERROR: [Errno 28] No space left on device\n");
        assert!(error.to_string().contains("disk is full"), "{error}");
        assert_eq!(error.exit_code(), 3);
    }
}
