//! Asks a library file what it is, before anything else trusts it.

use super::{Library, Origin, Version};
use ort::sys::{OrtApi, OrtApiBase};
use std::ffi::{CStr, c_char, c_int};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Why a file is not a library that can be used.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no such file.
    #[error("no such file")]
    Absent,
    /// A pipe, a device or a folder: opening it could wait for ever.
    #[error("not a regular file")]
    NotAFile,
    /// The file cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[source] std::io::Error),
    /// The file ends before what its header promises.
    #[error("it is cut short: {has} bytes of {needs}")]
    CutShort {
        /// Its length, bytes.
        has: u64,
        /// The length that its header asks for, bytes.
        needs: u64,
    },
    /// The system's loader refuses the file.
    #[error("it is not a library that this machine can load")]
    NotLoadable(#[source] libloading::Error),
    /// A library of something else.
    #[error("it is not ONNX Runtime: it has no OrtGetApiBase")]
    Foreign,
    /// The entry point answers nonsense.
    #[error("its OrtGetApiBase gives no {0}")]
    Broken(&'static str),
    /// An older version than the bindings need.
    #[error("it is version {found}, and {} or newer is needed", Version::OLDEST)]
    TooOld {
        /// What the library says.
        found: String,
    },
    /// A good library that lacks CUDA where CUDA is asked for.
    #[error("version {found} is built without CUDA")]
    NoCuda {
        /// What the library says.
        found: String,
    },
}

/// Opens the file and asks its version and its execution providers.
///
/// A good library stays loaded for the life of the process: ONNX Runtime is about to be used, and
/// unloading it while its own threads may live is not safe.
pub fn probe(path: &Path, origin: Origin) -> Result<Library, Fault> {
    let length = match std::fs::metadata(path) {
        Ok(found) if found.is_file() => found.len(),
        Ok(_) => return Err(Fault::NotAFile),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(Fault::Absent),
        Err(e) => return Err(Fault::Unreadable(e)),
    };
    check_length(path, length)?;
    // Absolute, so that the loader does not look a bare name up elsewhere.
    let path = std::path::absolute(path).map_err(Fault::Unreadable)?;
    // SAFETY: loading runs the library's initialisers; the user asked for this file, or it lies
    // where ONNX Runtime is installed, and it is a whole file.
    let library = unsafe { libloading::Library::new(&path) }.map_err(Fault::NotLoadable)?;
    let (version, providers) = ask(&library)?;
    std::mem::forget(library);
    Ok(Library { path, version, origin, providers })
}

/// The version and the execution providers that an open library names.
fn ask(library: &libloading::Library) -> Result<(Version, Vec<String>), Fault> {
    type Entry = unsafe extern "C" fn() -> *const OrtApiBase;
    // SAFETY: the symbol of this name is ONNX Runtime's only entry point and has this type in
    // every version; both functions of `OrtApiBase` have been there since the first.
    let text = unsafe {
        let entry = library.get::<Entry>(b"OrtGetApiBase\0").map_err(|_| Fault::Foreign)?;
        let base = entry().as_ref().ok_or(Fault::Broken("interface"))?;
        let text = (base.GetVersionString)();
        if text.is_null() {
            return Err(Fault::Broken("version"));
        }
        CStr::from_ptr(text).to_string_lossy().into_owned()
    };
    let version: Version = text.parse().map_err(|()| Fault::Broken("readable version"))?;
    if version < Version::OLDEST {
        return Err(Fault::TooOld { found: text });
    }
    // SAFETY: the version is one that knows this interface version, and the pointers live as
    // long as the library, which is open.
    let providers = unsafe {
        let entry = library.get::<Entry>(b"OrtGetApiBase\0").map_err(|_| Fault::Foreign)?;
        let base = entry().as_ref().ok_or(Fault::Broken("interface"))?;
        let api = (base.GetApi)(ort::sys::ORT_API_VERSION).as_ref().ok_or(Fault::Broken("interface"))?;
        providers(api)
    };
    Ok((version, providers))
}

/// The execution providers that the library was built with.
///
/// # Safety
/// `api` must come from an open library.
unsafe fn providers(api: &OrtApi) -> Vec<String> {
    let mut names: *mut *mut c_char = std::ptr::null_mut();
    let mut count: c_int = 0;
    // SAFETY: both are valid places to write; the list is freed below by its own function.
    unsafe {
        let status = (api.GetAvailableProviders)(&mut names, &mut count);
        if !status.0.is_null() {
            (api.ReleaseStatus)(status.0);
            return Vec::new();
        }
        if names.is_null() {
            return Vec::new();
        }
        let listed = std::slice::from_raw_parts(names, usize::try_from(count).unwrap_or(0));
        let found = listed.iter().map(|&name| CStr::from_ptr(name).to_string_lossy().into_owned());
        let found: Vec<String> = found.collect();
        let freed = (api.ReleaseAvailableProviders)(names, count);
        if !freed.0.is_null() {
            (api.ReleaseStatus)(freed.0);
        }
        found
    }
}

/// Why there is no NVIDIA driver on this machine, in the loader's words (`libcuda.so.1: cannot open …`);
/// `None` where there is one.
pub fn driver_fault() -> Option<String> {
    let name = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };
    // SAFETY: the driver's own library, which the CUDA provider would load next; kept open.
    let opened = unsafe { libloading::Library::new(name) };
    opened.map(std::mem::forget).err().map(|e| format!("{:#}", anyhow::Error::from(e)))
}

/// Refuses an ELF file that ends before its last segment: the loader would map it and the
/// process would die of SIGBUS at the first touch. Other formats are left to the loader.
fn check_length(path: &Path, length: u64) -> Result<(), Fault> {
    let mut file = File::open(path).map_err(Fault::Unreadable)?;
    let mut header = [0; 64];
    if file.read_exact(&mut header).is_err() || header[..6] != *b"\x7fELF\x02\x01" {
        return Ok(());
    }
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |sum, &b| sum << 8 | u64::from(b));
    let (table, entry, count) = (word(&header[32..40]), word(&header[54..56]), word(&header[56..58]));
    let needs = table.saturating_add(entry * count);
    if needs > length {
        return Err(Fault::CutShort { has: length, needs });
    }
    for index in 0..count {
        let mut segment = [0; 56];
        let read =
            file.seek(SeekFrom::Start(table + index * entry)).and_then(|_| file.read_exact(&mut segment));
        read.map_err(Fault::Unreadable)?;
        let needs = word(&segment[8..16]).saturating_add(word(&segment[32..40]));
        // Only loadable segments (type 1) are mapped.
        if word(&segment[..4]) == 1 && needs > length {
            return Err(Fault::CutShort { has: length, needs });
        }
    }
    Ok(())
}
