//! Libraries that are none, and installations that meet trouble; no network, no ONNX Runtime.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::runtime::provision::wheel::Wheel;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A shared library of a few lines of C. Rust links through the same compiler, so it is there.
fn library(path: &Path, code: &str) {
    let source = path.with_extension("c");
    fs::write(&source, code).unwrap();
    let done = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(path).arg(&source).status().unwrap();
    assert!(done.success());
    fs::remove_file(source).unwrap();
}

/// ONNX Runtime's entry point with this version, and an interface whose functions do nothing.
fn stub(version: &str) -> String {
    format!(
        "static void *nothing(void) {{ return 0; }}
         static void *api[600];
         static const void *get(unsigned v) {{
             for (int i = 0; i < 600; i++) api[i] = (void *)nothing;
             return v == 0 ? 0 : api;
         }}
         static const char *version(void) {{ return \"{version}\"; }}
         static struct {{ const void *(*get)(unsigned); const char *(*version)(void); }} base = {{ get, version }};
         const void *OrtGetApiBase(void) {{ return &base; }}"
    )
}

fn given(path: &Path) -> Lookup {
    Lookup { path: Some(path.into()), offline: true, cuda: false }
}

/// The fault in the chain of the error that `locate` gives; the exit code must be 3.
fn fault_of(path: &Path) -> String {
    let error = locate(&given(path)).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    std::error::Error::source(&error).unwrap().to_string()
}

#[test]
fn what_is_no_library_is_told_and_exits_with_3() {
    let dir = folder();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    assert_eq!(fault_of(&dir.path().join("absent.so")), "no such file");
    assert!(fault_of(&file("text.so", b"this is not a library\n")).contains("not a library"));
    assert!(fault_of(&file("empty.so", b"")).contains("not a library"));
    assert!(fault_of(&file("head.so", b"\x7fELF\x02\x01")).contains("not a library"));
}

#[cfg(unix)]
#[test]
fn a_pipe_is_not_waited_for() {
    let pipe = folder().path().join("pipe.so");
    fs::create_dir_all(pipe.parent().unwrap()).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(fault_of(&pipe), "not a regular file");
    fs::remove_dir_all(pipe.parent().unwrap()).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn foreign_broken_old_and_cut_libraries_are_told() {
    let dir = folder();
    let build = |name: &str, code: &str| {
        let path = dir.path().join(name);
        library(&path, code);
        path
    };
    let foreign = build("foreign.so", "int answer(void) { return 42; }");
    assert!(fault_of(&foreign).contains("not ONNX Runtime"));
    let null = build("null.so", "void *OrtGetApiBase(void) { return 0; }");
    assert!(fault_of(&null).contains("no interface"));
    let odd = build("odd.so", &stub("nightly"));
    assert!(fault_of(&odd).contains("readable version"));
    let old = build("old.so", &stub("1.17.3"));
    assert_eq!(fault_of(&old), "it is version 1.17.3, and 1.22.0 or newer is needed");
    let good = build("good.so", &stub("1.99.0"));
    let found = locate(&given(&good)).unwrap();
    assert_eq!((found.version.to_string().as_str(), found.origin), ("1.99.0", Origin::Given));
    // Every way of cutting a library short is refused or loads; none kills the process.
    let whole = fs::read(&good).unwrap();
    for length in (0..whole.len()).step_by(whole.len() / 40) {
        let cut = dir.path().join(format!("cut-{length}.so"));
        fs::write(&cut, &whole[..length]).unwrap();
        let _ = probe(&cut, Origin::Given);
    }
    let half = dir.path().join("cut-half.so");
    fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    assert!(fault_of(&half).contains("cut short"), "{}", fault_of(&half));
    let cuda = Lookup { cuda: true, ..given(&good) };
    let error = locate(&cuda).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("without CUDA"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_stands_for_the_library_in_it() {
    let dir = folder();
    let lib = dir.path().join("lib");
    fs::create_dir(&lib).unwrap();
    library(&lib.join("libonnxruntime.so.1.98.0"), &stub("1.98.0"));
    fs::write(lib.join("libonnxruntime_providers_shared.so"), b"x").unwrap();
    assert_eq!(locate(&given(dir.path())).unwrap().version.to_string(), "1.98.0");
}

#[test]
fn versions_are_ordered_as_numbers() {
    let version = |text: &str| text.parse::<Version>().unwrap();
    assert!(version("1.9.0") < version("1.22.0"));
    assert!(version("1.32.0-dev+7") > version("1.31.9"));
    assert!("".parse::<Version>().is_err() && "1.2".parse::<Version>().is_err());
}

/// A wheel of a version that nobody recorded.
fn unknown() -> Wheel {
    Wheel { cuda: false, version: "1.97.0".into(), platforms: &["manylinux_2_28_x86_64"] }
}

/// Serves a wheel made here, or fails.
struct Fake<'a> {
    wheel: Vec<u8>,
    fetched: AtomicUsize,
    before: &'a (dyn Fn() + Sync),
    fault: Option<std::io::ErrorKind>,
}

impl<'a> Fake<'a> {
    fn new(wheel: Vec<u8>) -> Self {
        Self { wheel, fetched: AtomicUsize::new(0), before: &|| (), fault: None }
    }
}

impl Source for Fake<'_> {
    fn name(&self) -> String {
        "a test".into()
    }

    fn fetch(&self, _: &Package<'_>, into: &Path) -> Result<Fetched> {
        self.fetched.fetch_add(1, Ordering::SeqCst);
        (self.before)();
        let path = into.join("onnxruntime-1.97.0-cp312-cp312-manylinux_2_28_x86_64.whl");
        fs::write(&path, &self.wheel).unwrap();
        match self.fault {
            Some(kind) => Err(Error::io("write", &path)(kind.into())),
            None => Ok(Fetched::Wheel(path)),
        }
    }
}

/// A wheel with these files.
fn wheel(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut zip = zip::ZipWriter::new(&mut bytes);
    for (name, content) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
    bytes.into_inner()
}

/// A whole wheel with a stub of version 1.97.0, and things that must not be unpacked.
#[cfg(target_os = "linux")]
fn good_wheel() -> Vec<u8> {
    let dir = folder();
    let path = dir.path().join("lib.so");
    library(&path, &stub("1.97.0"));
    let stub = fs::read(path).unwrap();
    wheel(&[
        ("onnxruntime/capi/libonnxruntime.so.1.97.0", &stub),
        ("onnxruntime/capi/libonnxruntime_providers_shared.so", b"provider"),
        ("onnxruntime/capi/onnxruntime_pybind11_state.cpython-312.so", b"python"),
        ("onnxruntime/capi/../../../../libonnxruntime_evil.so", b"evil"),
        ("onnxruntime/LICENSE", b"MIT"),
        ("onnxruntime/tools/x.py", b"python"),
    ])
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let mut names: Vec<_> =
        entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[cfg(target_os = "linux")]
#[test]
fn a_wheel_is_installed_once_with_its_libraries_and_licence_alone() {
    let dir = folder();
    let cache = dir.path().join("deep/cache");
    let source = Fake::new(good_wheel());
    let first = install(&unknown(), &source, &cache).unwrap();
    assert!(!first.verified && !first.present);
    assert_eq!(names(&cache), ["1.97.0-cpu"]);
    let expected = ["LICENSE", "libonnxruntime.so.1.97.0", "libonnxruntime_providers_shared.so"];
    assert_eq!(names(&cache.join("1.97.0-cpu")), expected);
    assert!(!dir.path().join("libonnxruntime_evil.so").exists());
    let second = install(&unknown(), &source, &cache).unwrap();
    assert!(second.present && second.library == first.library);
    assert_eq!(source.fetched.load(Ordering::SeqCst), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn two_installations_at_once_both_succeed() {
    let dir = folder();
    let bytes = good_wheel();
    // Both are past the look at the cache before either unpacks.
    let barrier = Barrier::new(2);
    let meet = || {
        barrier.wait();
    };
    let one = || {
        let source = Fake { before: &meet, ..Fake::new(bytes.clone()) };
        install(&unknown(), &source, dir.path()).unwrap().library
    };
    let (a, b) = std::thread::scope(|scope| {
        let (a, b) = (scope.spawn(one), scope.spawn(one));
        (a.join().unwrap(), b.join().unwrap())
    });
    assert_eq!(a, b);
    assert_eq!(names(dir.path()), ["1.97.0-cpu"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_broken_installation_is_replaced() {
    let dir = folder();
    let target = dir.path().join("1.97.0-cpu");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("libonnxruntime.so.1.97.0"), b"half").unwrap();
    let done = install(&unknown(), &Fake::new(good_wheel()), dir.path()).unwrap();
    assert!(!done.present);
    assert_eq!(names(dir.path()), ["1.97.0-cpu"]);
}

#[test]
fn what_fails_leaves_nothing_behind() {
    let full = Fake { fault: Some(std::io::ErrorKind::StorageFull), ..Fake::new(vec![0; 10]) };
    let lib = "onnxruntime/capi/libonnxruntime.so.1.97.0";
    let cases: [(&str, Fake, &str); 5] = [
        ("a full disk", full, "no storage space"),
        ("no zip", Fake::new(b"<html>sign in</html>".to_vec()), "is not a whole wheel"),
        ("cut short", Fake::new(wheel(&[(lib, &[7; 5000])])[..120].to_vec()), "is not a whole wheel"),
        ("no library", Fake::new(wheel(&[("onnxruntime/LICENSE", b"MIT")])), "try another --version"),
        ("no machine code", Fake::new(wheel(&[(lib, b"text")])), "does not work on this machine"),
    ];
    for (what, source, told) in cases {
        let dir = folder();
        let error = install(&unknown(), &source, dir.path()).unwrap_err();
        let chain = format!("{:#}", anyhow::Error::from(error));
        assert!(chain.contains(told) || !cfg!(target_os = "linux"), "{what}: {chain}");
        assert_eq!(names(dir.path()), Vec::<String>::new(), "{what}");
    }
}

#[test]
fn a_wheel_with_another_hash_than_the_recorded_one_is_refused() {
    let dir = folder();
    let known = Wheel { cuda: false, version: wheel::DEFAULT_CPU.into(), platforms: &["win_amd64"] };
    let lib = "onnxruntime/capi/libonnxruntime.so.1.32.0";
    let error = install(&known, &Fake::new(wheel(&[(lib, b"text")])), dir.path()).unwrap_err();
    assert!(error.to_string().contains("is recorded: a test gave another file"), "{error}");
    assert_eq!(names(dir.path()), Vec::<String>::new());
}
