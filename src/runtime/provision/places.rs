//! The places where ONNX Runtime's library may lie.

use super::Origin;
use crate::files;
use crate::runtime::Lookup;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The library's file name on this system, without a version.
pub fn file_name() -> &'static str {
    if cfg!(windows) {
        "onnxruntime.dll"
    } else if cfg!(target_os = "macos") {
        "libonnxruntime.dylib"
    } else {
        "libonnxruntime.so"
    }
}

/// The folder that installed libraries are kept in: `onnxruntime` in [`files::cache_dir`].
pub fn cache_dir() -> Option<PathBuf> {
    Some(files::cache_dir()?.join("onnxruntime"))
}

/// Every file worth trying, lazily: asking Python takes some tens of milliseconds.
pub fn candidates(lookup: &Lookup) -> Box<dyn Iterator<Item = (Origin, PathBuf)>> {
    if let Some(path) = &lookup.path {
        return Box::new(std::iter::once((Origin::Given, given(path))));
    }
    let cached = cached(cache_dir().as_deref()).into_iter().map(|path| (Origin::Cache, path));
    let python = std::iter::once_with(python).flatten().map(|path| (Origin::Python, path));
    let system = std::iter::once_with(system).flatten().map(|path| (Origin::System, path));
    Box::new(cached.chain(python).chain(system))
}

/// A folder stands for the library in it (or in its `lib`).
fn given(path: &Path) -> PathBuf {
    if !path.is_dir() {
        return path.to_path_buf();
    }
    let inside = [path.to_path_buf(), path.join("lib"), path.join("capi"), path.join("onnxruntime/capi")];
    let found = inside.iter().find_map(|folder| libraries(folder).into_iter().next());
    found.unwrap_or_else(|| path.join(file_name()))
}

/// The libraries in a folder, the plain name first, then the newest version: `libonnxruntime.so`,
/// `libonnxruntime.so.1.32.0`, `libonnxruntime.1.32.0.dylib`. Nothing else in the folder counts,
/// the providers' libraries in particular.
pub fn libraries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut found: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| is_library(&name(path))).collect();
    found.sort_by_key(|path| {
        let name = name(path);
        (name != file_name(), std::cmp::Reverse(numbers(&name)))
    });
    found
}

fn is_library(name: &str) -> bool {
    let versioned = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if cfg!(windows) {
        name.eq_ignore_ascii_case(file_name())
    } else if cfg!(target_os = "macos") {
        let middle = name.strip_prefix("libonnxruntime").and_then(|rest| rest.strip_suffix(".dylib"));
        middle.is_some_and(versioned)
    } else {
        name.strip_prefix("libonnxruntime.so").is_some_and(versioned)
    }
}

/// The numbers in a name, for sorting versions.
fn numbers(name: &str) -> Vec<u32> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// The installed libraries: `<cache>/<version>-<cpu|cuda>/`, CPU builds first, newest first.
fn cached(cache: Option<&Path>) -> Vec<PathBuf> {
    let Some(entries) = cache.and_then(|folder| std::fs::read_dir(folder).ok()) else { return Vec::new() };
    let mut folders: Vec<_> = entries
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .filter(|(name, _)| name.ends_with("-cpu") || name.ends_with("-cuda"))
        .collect();
    folders.sort_by_key(|(name, _)| (name.ends_with("-cuda"), std::cmp::Reverse(numbers(name))));
    folders.iter().filter_map(|(_, folder)| libraries(folder).into_iter().next()).collect()
}

/// The library of the Python package, of the active environment first.
fn python() -> Vec<PathBuf> {
    let program = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
    let active = std::env::var_os("VIRTUAL_ENV").map(|dir| Path::new(&dir).join(program));
    let names = ["python3", "python"].map(PathBuf::from);
    let mut found = Vec::new();
    for interpreter in active.into_iter().chain(names) {
        if let Some(folder) = python_package(&interpreter) {
            found.extend(libraries(&folder.join("capi")).into_iter().next());
        }
    }
    found.dedup();
    found
}

/// The folder of the package `onnxruntime`, without importing it.
fn python_package(interpreter: &Path) -> Option<PathBuf> {
    const ASK: &str = "import importlib.util as u; s = u.find_spec('onnxruntime'); \
                       print(s.submodule_search_locations[0] if s else '')";
    let mut command = Command::new(interpreter);
    command.args(["-c", ASK]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let text = output_within(&mut command, Duration::from_secs(10))?;
    let line = text.trim();
    (!line.is_empty()).then(|| PathBuf::from(line))
}

/// What a program prints, unless it fails or takes too long (a wrapper that waits for something).
fn output_within(command: &mut Command, limit: Duration) -> Option<String> {
    let mut child = command.spawn().ok()?;
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break,
            Ok(Some(_)) => return None,
            Ok(None) if begun.elapsed() < limit => std::thread::sleep(Duration::from_millis(2)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
    std::io::read_to_string(child.stdout.take()?).ok()
}

/// The libraries in the system's folders.
fn system() -> Vec<PathBuf> {
    let listed = if cfg!(windows) {
        "PATH"
    } else if cfg!(target_os = "macos") {
        "DYLD_LIBRARY_PATH"
    } else {
        "LD_LIBRARY_PATH"
    };
    let listed = std::env::var_os(listed).unwrap_or_default();
    let listed: Vec<_> = std::env::split_paths(&listed).filter(|dir| dir.is_absolute()).collect();
    let usual: &[&str] = if cfg!(windows) {
        &[]
    } else if cfg!(target_os = "macos") {
        &["/opt/homebrew/lib", "/usr/local/lib"]
    } else {
        &[
            "/usr/local/lib",
            "/usr/local/lib64",
            "/usr/lib64",
            "/usr/lib",
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
            "/lib64",
            "/opt/onnxruntime/lib",
        ]
    };
    let folders = listed.into_iter().chain(usual.iter().map(PathBuf::from));
    let mut found: Vec<PathBuf> = Vec::new();
    for file in folders.flat_map(|folder| libraries(&folder)) {
        // Several names of one file are one candidate.
        let file = file.canonicalize().unwrap_or(file);
        if !found.contains(&file) {
            found.push(file);
        }
    }
    found
}
