//! `siamese data get`: copies a data set from a folder, or downloads it, and verifies it.
//!
//! A file appears under its name only when it is whole and verified. A download that stops is
//! continued the next time; one that cannot be written leaves nothing.

use super::published::{self, Published, PublishedFile};
use crate::files::Replacement;
use crate::{Error, Result};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// What to get, and how.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The data set.
    pub set: Published,
    /// The data folder; the set goes into a folder of its name.
    pub into: PathBuf,
    /// Copy from this folder (or from one of the set's name in it) instead of downloading.
    pub from: Option<PathBuf>,
    /// Download from here instead of from the set's public home.
    pub mirror: Option<String>,
    /// Do not download.
    pub offline: bool,
}

/// Where a file came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Obtained {
    /// It was there, and is right.
    Present,
    /// Copied from the folder.
    Copied,
    /// Downloaded.
    Downloaded,
}

/// A file that is now in the data folder.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Got {
    /// Where it is.
    pub path: PathBuf,
    /// Where it came from.
    pub origin: Obtained,
    /// Its length.
    pub bytes: u64,
}

/// A data set that is now in a data folder.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Delivery {
    /// The data set.
    pub set: Published,
    /// The data folder.
    pub folder: PathBuf,
    /// Its files, in a folder of its name.
    pub files: Vec<Got>,
}

/// Tells how far a file is: its name, bytes so far, bytes in all where known.
pub type OnBytes<'a> = &'a dyn Fn(&str, u64, Option<u64>);

/// Gets the files of a set, one after the other; those that are there and right stay.
pub fn get(wanted: &Wanted, progress: OnBytes<'_>) -> Result<Delivery> {
    let folder = wanted.into.join(wanted.set.name());
    let files = wanted.set.files().iter().map(|file| get_file(wanted, file, &folder, progress));
    Ok(Delivery { set: wanted.set, files: files.collect::<Result<_>>()?, folder: wanted.into.clone() })
}

fn get_file(wanted: &Wanted, file: &PublishedFile, folder: &Path, progress: OnBytes<'_>) -> Result<Got> {
    let path = folder.join(file.name);
    let got = |origin| {
        let bytes = fs::metadata(&path).map_err(Error::io("read", &path))?.len();
        Ok(Got { path: path.clone(), origin, bytes })
    };
    if path.exists() {
        published::check(file, &path)?;
        return got(Obtained::Present);
    }
    if let Some(from) = &wanted.from {
        copy(file, &source(from, wanted.set, file)?, &path, progress)?;
        return got(Obtained::Copied);
    }
    if wanted.offline {
        let why =
            format!("is not there, and --offline forbids downloading; give --from DIR with {}", file.name);
        return Err(Error::invalid(path.display(), why));
    }
    let base = wanted.mirror.as_deref().unwrap_or(wanted.set.home()).trim_end_matches('/');
    download(file, &format!("{base}/{}", file.path), &path, progress)?;
    got(Obtained::Downloaded)
}

/// The file in `from/<set>` or `from`.
fn source(from: &Path, set: Published, file: &PublishedFile) -> Result<PathBuf> {
    [from.join(set.name()).join(file.name), from.join(file.name)]
        .into_iter()
        .find(|path| path.exists())
        .ok_or_else(|| Error::invalid(from.display(), format!("has no {}", file.name)))
}

/// Verifies, then copies; nothing is left if anything goes wrong.
fn copy(file: &PublishedFile, from: &Path, to: &Path, progress: OnBytes<'_>) -> Result<()> {
    published::check(file, from)?;
    make_folder(to)?;
    let mut source = fs::File::open(from).map_err(Error::io("read", from))?;
    let total = source.metadata().ok().map(|m| m.len());
    let mut copied = Replacement::create(to)?;
    pour(&mut source, from, &mut copied, to, |done| progress(file.name, done, total))?;
    copied.flush().map_err(Error::io("write", to))?;
    // What was copied, not what was there a moment ago, is what must be right.
    published::check(file, &copied.partial())?;
    copied.finish()
}

fn make_folder(path: &Path) -> Result<&Path> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io("create the folder", folder))?;
    Ok(folder)
}

/// Copies all bytes; errors tell the side that failed.
fn pour(
    source: &mut dyn Read,
    from: impl AsRef<Path>,
    target: &mut impl Write,
    to: &Path,
    told: impl Fn(u64),
) -> Result<u64> {
    let mut buffer = vec![0_u8; 256 << 10];
    let mut done = 0;
    loop {
        let n = match source.read(&mut buffer) {
            Ok(0) => return Ok(done),
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::io("read", &from)(e)),
        };
        target.write_all(&buffer[..n]).map_err(Error::io("write", to))?;
        done += n as u64;
        if done > super::MAX_FILE_BYTES {
            let why = format!("is longer than {} MiB; this is not the data set", super::MAX_FILE_BYTES >> 20);
            return Err(Error::invalid(from.as_ref().display(), why));
        }
        told(done);
    }
}

#[cfg(not(feature = "download"))]
fn download(_: &PublishedFile, url: &str, to: &Path, _: OnBytes<'_>) -> Result<()> {
    let why =
        format!("this build cannot download {url}; fetch it otherwise and give its folder with --from DIR");
    Err(Error::invalid(to.display(), why))
}

#[cfg(feature = "download")]
use http::download;

#[cfg(feature = "download")]
mod http {
    use super::*;
    use crate::files;
    use std::time::Duration;

    /// Downloads into `.<name>.part` beside the target, continuing what an earlier attempt left.
    pub(super) fn download(file: &PublishedFile, url: &str, to: &Path, progress: OnBytes<'_>) -> Result<()> {
        let folder = make_folder(to)?;
        let part = folder.join(format!(".{}.part", file.name));
        // The lock is held until the file has its name.
        let mut target = open_alone(&part)?;
        fetch(url, &mut target, &part, &|done, total| progress(file.name, done, total))?;
        if let Err(error) = published::check(file, &part) {
            // What cannot be right must not be continued.
            let _ = fs::remove_file(&part);
            let why = "what was downloaded is not the data set; try again, or another --mirror URL";
            return Err(Error::invalid_because(url, why, error));
        }
        files::rename(&part, to)
    }

    /// Opens a partial file for this process alone.
    pub(super) fn open_alone(part: &Path) -> Result<fs::File> {
        let file = fs::OpenOptions::new().create(true).append(true).open(part);
        let file = file.map_err(Error::io("write", part))?;
        if file.try_lock().is_err() {
            let why = "another process is downloading this file; wait for it";
            return Err(Error::invalid(part.display(), why));
        }
        Ok(file)
    }

    /// Fetches `url` into `target`, from where it ends. A network failure keeps what has come for
    /// the next attempt; a failure to write removes it.
    pub(super) fn fetch(
        url: &str,
        target: &mut fs::File,
        part: &Path,
        told: &dyn Fn(u64, Option<u64>),
    ) -> Result<()> {
        let fetched = try_fetch(url, target, part, told);
        let cannot_write = matches!(&fetched, Err(Error::Io { action: "write", .. }));
        let is_empty = fs::metadata(part).is_ok_and(|m| m.len() == 0);
        if fetched.is_err() && (cannot_write || is_empty) {
            let _ = fs::remove_file(part);
        }
        fetched
    }

    fn try_fetch(
        url: &str,
        target: &mut fs::File,
        part: &Path,
        told: &dyn Fn(u64, Option<u64>),
    ) -> Result<()> {
        let have = target.metadata().map_err(Error::io("read", part))?.len();
        let response = ask(url, have)?;
        let start = match response.status().as_u16() {
            206 => have,
            200 => {
                // The server knows no ranges (or was not asked): from the beginning.
                target.set_len(0).map_err(Error::io("write", part))?;
                0
            }
            // Nothing comes after the end: all of it is here.
            416 if have > 0 => return Ok(()),
            status => {
                let why = format!("the server answered {status}; give another --mirror URL, or --from DIR");
                return Err(Error::invalid(url, why));
            }
        };
        let total = response.body().content_length().map(|rest| start + rest);
        let mut body = response.into_body().into_reader();
        let done = pour(&mut body, Path::new(url), target, part, |done| told(start + done, total))?;
        target.sync_all().map_err(Error::io("write", part))?;
        if total.is_some_and(|total| start + done < total) {
            let why = format!("the connection broke after {} bytes; run it again to continue", start + done);
            return Err(Error::invalid(url, why));
        }
        Ok(())
    }

    /// Asks for what comes after the first `have` bytes.
    fn ask(url: &str, have: u64) -> Result<ureq::http::Response<ureq::Body>> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            // Ranges count the bytes of the file, so it must not come packed in another way.
            .accept_encoding("identity")
            .build()
            .into();
        let mut request = agent.get(url);
        if have > 0 {
            request = request.header("Range", format!("bytes={have}-"));
        }
        request.call().map_err(|e| {
            let why = "cannot be downloaded; check the network, or give the files' folder with --from DIR";
            Error::invalid_because(url, why, e)
        })
    }
}

#[cfg(all(test, feature = "download"))]
#[path = "get_tests.rs"]
mod tests;
