//! `siamese runtime`, `doctor`, `completions`, `--version`: what the user sees.

use assert_cmd::Command;
use std::fs;
use std::path::Path;
use std::process::Output;

/// `siamese ARGS` with caches in `cache`, and neither Python, pip, nor a system's library in sight.
fn siamese(cache: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("siamese").unwrap();
    for unset in ["ORT_DYLIB_PATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
        command.env_remove(unset);
    }
    command.env("SIAMESE_CACHE", cache).env("HOME", cache).env("PATH", cache.join("no-programs"));
    command.args(arguments).timeout(std::time::Duration::from_secs(60)).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether the system itself has ONNX Runtime, so that it cannot be missing.
#[cfg(feature = "ort")]
fn system_has_one(cache: &Path) -> bool {
    let found = siamese(cache, &["runtime", "status"]).status.success();
    if found {
        eprintln!("skipped: ONNX Runtime is in the system's library folders");
    }
    found
}

#[cfg(feature = "ort")]
#[test]
fn offline_with_an_empty_cache_exits_with_3_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    if system_has_one(&cache) {
        return;
    }
    for arguments in [&["runtime", "status"][..], &["runtime", "install", "--offline"], &["doctor"]] {
        let output = siamese(&cache, arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {}", stderr(&output));
        assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    }
    assert!(stderr(&siamese(&cache, &["runtime", "status"])).contains("siamese runtime install"));
    assert!(!cache.join("onnxruntime").exists());
}

#[cfg(feature = "ort")]
#[test]
fn without_pip_and_uv_installing_tells_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let output = siamese(dir.path(), &["runtime", "install"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("neither pip nor uv"), "{}", stderr(&output));
    let output = siamese(dir.path(), &["runtime", "install", "--version", "newest"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("newest"), "{}", stderr(&output));
}

#[cfg(feature = "ort")]
#[test]
fn libraries_that_are_none_exit_with_3() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text.so");
    fs::write(&text, "not a library").unwrap();
    for (path, told) in [(text.to_str().unwrap(), "not a library"), ("/no/such/file.so", "no such file")] {
        let output = siamese(dir.path(), &["--ort", path, "runtime", "status"]);
        assert_eq!(output.status.code(), Some(3));
        assert!(stderr(&output).contains(told) && stderr(&output).contains(path), "{}", stderr(&output));
    }
    // The environment variable means the same as the argument.
    let mut command = Command::cargo_bin("siamese").unwrap();
    let output = command.env("ORT_DYLIB_PATH", &text).args(["doctor", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["onnx_runtime"]["library"], serde_json::Value::Null);
    assert_eq!(told["onnx_runtime"]["passed_over"][0]["path"], text.to_str().unwrap());
}

#[cfg(feature = "ort")]
#[test]
fn a_broken_library_in_the_cache_is_passed_over_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("onnxruntime/1.32.0-cpu");
    fs::create_dir_all(&broken).unwrap();
    fs::write(broken.join(siamese::runtime::provision::file_name()), "half").unwrap();
    if system_has_one(dir.path()) {
        return;
    }
    let output = siamese(dir.path(), &["runtime", "status"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("1.32.0-cpu"), "{}", stderr(&output));
}

/// A Python that has the package, whose library says 1.96.0.
#[cfg(all(feature = "ort", target_os = "linux"))]
#[test]
fn the_library_of_the_python_package_is_found() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (programs, package) = (dir.path().join("no-programs"), dir.path().join("site/onnxruntime"));
    fs::create_dir_all(&programs).unwrap();
    fs::create_dir_all(package.join("capi")).unwrap();
    let python = programs.join("python3");
    fs::write(&python, format!("#!/bin/sh\necho {}\n", package.display())).unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    let code = dir.path().join("stub.c");
    let text = "static void *none(void) { return 0; }
        static void *api[600];
        static void *get(unsigned v) { for (int i = 0; i < 600; i++) api[i] = none; return v ? api : 0; }
        static const char *version(void) { return \"1.96.0\"; }
        static struct { void *(*get)(unsigned); const char *(*version)(void); } base = { get, version };
        void *OrtGetApiBase(void) { return &base; }";
    fs::write(&code, text).unwrap();
    let library = package.join("capi/libonnxruntime.so.1.96.0");
    let mut built = std::process::Command::new("cc");
    built.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&code);
    assert!(built.status().unwrap().success());
    let output = siamese(dir.path(), &["runtime", "status", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["library"]["origin"], "python");
    assert_eq!(told["library"]["version"], "1.96.0");
    assert_eq!(told["library"]["path"], library.to_str().unwrap());
}

#[test]
fn the_long_version_names_everything_that_computes() {
    let dir = tempfile::tempdir().unwrap();
    let output = siamese(dir.path(), &["--version"]);
    assert!(output.status.success());
    let told = stdout(&output);
    assert!(told.starts_with(&format!("siamese {}\n", env!("CARGO_PKG_VERSION"))), "{told}");
    if cfg!(feature = "ort") {
        assert!(told.contains("\nort 2.") && told.contains("\nONNX Runtime not found"), "{told}");
    }
    assert_eq!(told.contains("\ntract 0."), cfg!(feature = "tract"), "{told}");
    // It installs nothing.
    assert!(!dir.path().join("onnxruntime").exists());
    assert_eq!(stdout(&siamese(dir.path(), &["-V"])).lines().count(), 1);
}

#[test]
fn completions_are_written_for_every_shell() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = siamese(dir.path(), &["completions", shell]);
        assert!(output.status.success() && stdout(&output).contains("doctor"), "{shell}");
    }
}

#[test]
fn doctor_refuses_what_is_no_tower() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.onnx");
    fs::write(&file, "hello").unwrap();
    let output = siamese(dir.path(), &["doctor", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("x.onnx") && stderr(&output).contains("is not an ONNX model"));
}

#[cfg(not(feature = "ort"))]
#[test]
fn without_onnx_runtime_built_in_nothing_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let output = siamese(dir.path(), &["doctor"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!stdout(&output).contains("ONNX Runtime"));
}
