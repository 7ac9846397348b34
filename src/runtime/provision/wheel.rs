//! The packages that ONNX Runtime's libraries are published in, and what is known of them.

use super::Version;
use super::fetch::Tool;
use super::package::Package;
use crate::{Error, Result};

/// The version installed when none is named.
pub const DEFAULT_CPU: &str = "1.32.0";
/// The same of the build with CUDA 13, which is published on its own schedule.
pub const DEFAULT_CUDA: &str = "1.31.1";

/// SHA-256 of published wheels, by file name. A wheel of this list that differs is refused.
const KNOWN: &[(&str, &str)] = &[
    (
        "onnxruntime-1.32.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        "99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8",
    ),
    (
        "onnxruntime-1.32.0-cp312-cp312-manylinux_2_28_aarch64.whl",
        "e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054",
    ),
    (
        "onnxruntime-1.32.0-cp312-cp312-macosx_14_0_arm64.whl",
        "d52510bbbcc880c13b826f7d75cdf33ac5cf0bb864d960000fc29ce73f0cb83e",
    ),
    (
        "onnxruntime-1.32.0-cp312-cp312-win_amd64.whl",
        "efe7456952c243a05a53d5b8732953625144642c2f3989094277f6217f0c0c40",
    ),
    (
        "onnxruntime_gpu-1.31.1-cp312-cp312-manylinux_2_28_x86_64.whl",
        "05d548956197b9d01f59b625de740e0d6be3593f874e241a12dc0362650ecdf7",
    ),
    (
        "onnxruntime_gpu-1.31.1-cp312-cp312-win_amd64.whl",
        "2bb1e9373baba88f6415257f5b6a589d23e23c16004f7d89adf4344eada5749e",
    ),
];

/// What to fetch: one version of one package, for this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wheel {
    /// Built with CUDA.
    pub cuda: bool,
    /// `1.32.0`.
    pub version: String,
    /// The platform tags that will do here, the newest first.
    pub platforms: &'static [&'static str],
}

/// The Python whose wheel is taken; the library in it does not depend on Python.
pub const PYTHON: &str = "3.12";

impl Wheel {
    /// The wheel for this machine; `version` as given by the user, else the recorded one.
    ///
    /// # Errors
    /// When no wheel is published for this system, or the version is not one.
    pub fn here(version: Option<&str>, cuda: bool) -> Result<Self> {
        let version = version.unwrap_or(if cuda { DEFAULT_CUDA } else { DEFAULT_CPU });
        let plain = version.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
        let Some(parsed) = version.parse::<Version>().ok().filter(|_| plain) else {
            let why = format!("`{version}` is not a version such as {DEFAULT_CPU}");
            return Err(Error::invalid("--version", why));
        };
        if parsed < Version::OLDEST {
            let why = format!("{version} is too old; {} or newer is needed", Version::OLDEST);
            return Err(Error::invalid("--version", why));
        }
        let platforms = platforms(std::env::consts::OS, std::env::consts::ARCH).ok_or_else(|| {
            let what = format!(
                "no ONNX Runtime is published for {} on {}",
                std::env::consts::OS,
                std::env::consts::ARCH
            );
            Error::missing(what, "build it from source and name the library with --ort PATH")
        })?;
        Ok(Self { cuda, version: version.into(), platforms })
    }

    /// The package's name.
    pub fn package(&self) -> &'static str {
        if self.cuda { "onnxruntime-gpu" } else { "onnxruntime" }
    }

    /// `onnxruntime==1.32.0`.
    pub fn requirement(&self) -> String {
        format!("{}=={}", self.package(), self.version)
    }

    /// The same as what is fetched, of which these files are wanted.
    pub(super) fn as_package<'a>(&self, wanted: &'a dyn Fn(&str) -> bool) -> Package<'a> {
        Package {
            requirement: self.requirement(),
            hashes: self.hashes(),
            platforms: self.platforms,
            folders: vec!["onnxruntime/capi", "onnxruntime"],
            wanted,
            // More than any published build unpacks to; a wheel nobody recorded may not fill the disk.
            most_bytes: 4 << 30,
            otherwise: "name an ONNX Runtime library with --ort PATH",
        }
    }

    /// The first tool that answers, to fetch it with.
    ///
    /// # Errors
    /// When there is none.
    pub fn tool(&self) -> Result<Tool> {
        Tool::find(&self.as_package(&|_| true))
    }

    /// The folder's name in the cache.
    pub fn folder(&self) -> String {
        format!("{}-{}", self.version, if self.cuda { "cuda" } else { "cpu" })
    }

    /// The recorded hashes that this wheel may have here: none for a version nobody recorded.
    pub fn hashes(&self) -> Vec<&'static str> {
        let begin = format!("{}-{}-", self.package().replace('-', "_"), self.version);
        let fits = |name: &str| {
            let tag = name.strip_suffix(".whl").and_then(|name| name.rsplit('-').next());
            name.starts_with(&begin) && tag.is_some_and(|tag| self.platforms.contains(&tag))
        };
        KNOWN.iter().filter(|(name, _)| fits(name)).map(|&(_, hash)| hash).collect()
    }
}

fn platforms(system: &str, processor: &str) -> Option<&'static [&'static str]> {
    Some(match (system, processor) {
        ("linux", "x86_64") => &[
            "manylinux_2_28_x86_64",
            "manylinux_2_27_x86_64",
            "manylinux_2_17_x86_64",
            "manylinux2014_x86_64",
        ],
        ("linux", "aarch64") => &[
            "manylinux_2_28_aarch64",
            "manylinux_2_27_aarch64",
            "manylinux_2_17_aarch64",
            "manylinux2014_aarch64",
        ],
        ("macos", "aarch64") => &["macosx_14_0_arm64", "macosx_13_0_arm64", "macosx_13_0_universal2"],
        ("macos", "x86_64") => &["macosx_13_0_x86_64", "macosx_13_0_universal2"],
        ("windows", "x86_64") => &["win_amd64"],
        ("windows", "aarch64") => &["win_arm64"],
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn recorded_hashes_are_found_for_every_recorded_system() {
        for (system, processor, cuda) in [
            ("linux", "x86_64", false),
            ("linux", "aarch64", false),
            ("macos", "aarch64", false),
            ("windows", "x86_64", false),
            ("linux", "x86_64", true),
            ("windows", "x86_64", true),
        ] {
            let version = if cuda { DEFAULT_CUDA } else { DEFAULT_CPU }.to_string();
            let wheel = Wheel { cuda, version, platforms: platforms(system, processor).unwrap() };
            assert_eq!(wheel.hashes().len(), 1, "{system} {processor} cuda={cuda}");
        }
        assert!(KNOWN.iter().all(|(_, hash)| hash.len() == 64));
    }

    #[test]
    fn a_version_nobody_recorded_has_no_hash() {
        let wheel = Wheel { cuda: false, version: "1.30.0".into(), platforms: &["manylinux_2_28_x86_64"] };
        assert!(wheel.hashes().is_empty());
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for bad in ["", "latest", "1.32", "1.32.0 --index-url x", "1.32.0;rm", "-1.2.3"] {
            assert!(Wheel::here(Some(bad), false).is_err(), "{bad}");
        }
        let old = Wheel::here(Some("1.21.9"), false).unwrap_err().to_string();
        assert!(old.contains("too old; 1.22.0 or newer"), "{old}");
    }
}
