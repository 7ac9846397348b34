//! The machine: its processor, its caches.

use serde::Serialize;
use std::path::Path;

/// The processor and the system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// `linux`, `macos`, `windows`, …
    pub system: &'static str,
    /// `x86_64`, `aarch64`, …
    pub architecture: &'static str,
    /// The processor's own name, where the system tells it.
    pub processor: Option<String>,
    /// Cores that this process may use.
    pub cores: usize,
    /// Instruction sets that the runtimes' kernels use.
    pub features: Vec<&'static str>,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        Self {
            system: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
            processor: processor(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            features: features(),
        }
    }
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    use std::arch::is_x86_feature_detected as has;
    let all = [
        ("sse4.1", has!("sse4.1")),
        ("avx", has!("avx")),
        ("avx2", has!("avx2")),
        ("fma", has!("fma")),
        ("avx-vnni", has!("avxvnni")),
        ("avx512f", has!("avx512f")),
        ("avx512-vnni", has!("avx512vnni")),
    ];
    all.into_iter().filter(|&(_, here)| here).map(|(name, _)| name).collect()
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<&'static str> {
    use std::arch::is_aarch64_feature_detected as has;
    let all = [
        ("neon", has!("neon")),
        ("fp16", has!("fp16")),
        ("dotprod", has!("dotprod")),
        ("i8mm", has!("i8mm")),
        ("sve", has!("sve")),
    ];
    all.into_iter().filter(|&(_, here)| here).map(|(name, _)| name).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

/// A folder that is kept between runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cache {
    /// What it keeps.
    pub keeps: &'static str,
    /// The folder.
    pub path: String,
    /// What it holds, bytes.
    pub bytes: u64,
    /// Whether it can be written, or made.
    pub writable: bool,
}

/// The caches of this program.
pub fn caches() -> Vec<Cache> {
    let mut found = Vec::new();
    #[cfg(feature = "ort")]
    found.extend(crate::runtime::provision::cache_dir().map(|path| ("ONNX Runtime", path)));
    found.extend(crate::data::cache_dir().ok().map(|path| ("data sets", path)));
    found
        .into_iter()
        .map(|(keeps, path)| Cache {
            keeps,
            path: path.display().to_string(),
            bytes: size(&path),
            writable: writable(&path),
        })
        .collect()
}

/// The bytes of all files below a folder; links are not followed.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let each = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) if found.is_file() => found.len(),
        _ => 0,
    });
    each.sum()
}

/// Whether a file can be made in the folder, or the folder in the first one above it that exists.
fn writable(folder: &Path) -> bool {
    let existing = folder.ancestors().find(|above| above.exists());
    // A file without a name, gone at once: asking for permissions would not see a read-only disk.
    existing.is_some_and(|dir| dir.is_dir() && tempfile::tempfile_in(dir).is_ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_summed_and_what_is_no_folder_is_not_writable() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("a/b"), [0; 10]).unwrap();
        std::fs::write(dir.path().join("c"), [0; 5]).unwrap();
        assert_eq!(size(dir.path()), 15);
        assert!(writable(&dir.path().join("not/there/yet")));
        assert!(!writable(&dir.path().join("c/below-a-file")));
    }
}
