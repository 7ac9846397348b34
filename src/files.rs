//! Files that are replaced whole or not at all, and files that are read up to a limit.
//!
//! What is written for keeps goes through a [`Replacement`]: a temporary file, without a name where the system can,
//! which takes the target's place once the disk holds it. Whoever reads finds the earlier file or the new one, also after
//! a crash or a loss of power.

use crate::{Error, Result};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::NamedTempFile;

/// How the name of a temporary file ends. Only a process that was killed leaves one behind, and only where files
/// without a name cannot be had.
pub const PARTIAL: &str = ".partial";
/// Bytes that are gathered before they are written.
const BUFFER: usize = 1 << 18;

/// The folder of what is fetched once and kept: `SIAMESE_CACHE`, else `siamese` in the user's cache folder; none where
/// the user has neither.
pub fn cache_dir() -> Option<PathBuf> {
    match std::env::var_os("SIAMESE_CACHE").filter(|dir| !dir.is_empty()) {
        Some(dir) => Some(PathBuf::from(dir)),
        None => Some(dirs::cache_dir()?.join("siamese")),
    }
}

/// Puts bytes in place of a file's.
///
/// # Errors
/// As those of [`Replacement`].
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = Replacement::create(path)?;
    file.append(bytes)?;
    file.finish()
}

/// A file in the making. It appears under its name when it is finished; dropped before, it leaves nothing.
///
/// Where the system can (Linux, on most file systems) it has no name until then, so that nothing is left of it
/// however the process ends. A new file has the permissions that the user's mask leaves, an earlier one keeps its
/// own; a symbolic link stays, and what it points to is replaced.
pub struct Replacement {
    writer: BufWriter<Part>,
    /// As the caller named it, for messages.
    path: PathBuf,
    /// The file behind the links.
    target: PathBuf,
}

impl Replacement {
    /// Begins it.
    ///
    /// # Errors
    /// A folder that cannot be written; a target that is no file (a folder, a device).
    pub fn create(path: &Path) -> Result<Self> {
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.into());
        let earlier = fs::metadata(&target).ok();
        if earlier.as_ref().is_some_and(|found| !found.is_file()) {
            return Err(Error::invalid(path.display(), "is no file that could be replaced; name another"));
        }
        let folder = folder(&target);
        let part = Part::new(folder).map_err(Error::io("write into", folder))?;
        if let Some(earlier) = earlier {
            part.file().set_permissions(earlier.permissions()).map_err(Error::io("write", path))?;
        }
        Ok(Self { writer: BufWriter::with_capacity(BUFFER, part), path: path.into(), target })
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// A full disk.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(Error::io("write", &self.path))
    }

    /// Writes the first bytes again, now that everything is known.
    ///
    /// # Errors
    /// A full disk.
    pub fn rewrite_head(&mut self, head: &[u8]) -> Result<()> {
        self.writer.rewind().map_err(Error::io("write", &self.path))?;
        self.append(head)
    }

    /// Where the bytes lie until it is finished; a part of them may still be in memory.
    pub fn partial(&self) -> PathBuf {
        self.writer.get_ref().path()
    }

    /// Waits until the disk holds it, and gives it its name.
    ///
    /// # Errors
    /// A full disk; the earlier file stays as it was.
    pub fn finish(self) -> Result<()> {
        let failed = || Error::io("write", &self.path);
        let part = self.writer.into_inner().map_err(|e| failed()(e.into_error()))?;
        part.file().sync_all().map_err(failed())?;
        part.persist(&self.target).map_err(failed())?;
        sync_folder(&self.target);
        Ok(())
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// What is written until it is finished.
enum Part {
    /// A file without a name.
    #[cfg(target_os = "linux")]
    Unnamed(File),
    /// A file beside its target.
    Named(NamedTempFile, #[expect(dead_code, reason = "its end takes it off the list")] Listed),
}

impl Part {
    fn new(folder: &Path) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Some(file) = unnamed::create(folder) {
            return Ok(Self::Unnamed(file));
        }
        Self::named(temporary().tempfile_in(folder)?)
    }

    fn named(file: NamedTempFile) -> io::Result<Self> {
        let listed = Listed::new(file.path());
        Ok(Self::Named(file, listed))
    }

    fn file(&self) -> &File {
        match self {
            #[cfg(target_os = "linux")]
            Self::Unnamed(file) => file,
            Self::Named(file, _) => file.as_file(),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            #[cfg(target_os = "linux")]
            Self::Unnamed(file) => unnamed::path(file),
            Self::Named(file, _) => file.path().into(),
        }
    }

    /// Puts it in its target's place.
    fn persist(self, target: &Path) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Unnamed(file) => {
                let named = temporary().make_in(folder(target), |path| unnamed::link(&file, path))?;
                named.persist(target).map_err(|e| e.error)?;
            }
            Self::Named(file, _) => drop(file.persist(target).map_err(|e| e.error)?),
        }
        Ok(())
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file().flush()
    }
}

impl Seek for Part {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.file().seek(to)
    }
}

/// Files without a name.
#[cfg(target_os = "linux")]
mod unnamed {
    use nix::fcntl::{AT_FDCWD, AtFlags};
    use nix::libc::O_TMPFILE;
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::{Path, PathBuf};

    /// Begins one in a folder, where the file system has them and they can be given a name later.
    pub fn create(folder: &Path) -> Option<File> {
        // What the user's mask does not forbid, as for any file.
        let file =
            File::options().read(true).write(true).custom_flags(O_TMPFILE).mode(0o666).open(folder).ok()?;
        path(&file).exists().then_some(file)
    }

    /// Where it can be read and linked.
    pub fn path(file: &File) -> PathBuf {
        format!("/proc/self/fd/{}", file.as_raw_fd()).into()
    }

    /// Gives it a name that no file has.
    pub fn link(file: &File, name: &Path) -> io::Result<()> {
        let flags = AtFlags::AT_SYMLINK_FOLLOW;
        nix::unistd::linkat(AT_FDCWD, &path(file), AT_FDCWD, name, flags).map_err(io::Error::from)
    }
}

/// Gives a file that is complete and on disk another name in its folder, in place of what had that name.
///
/// # Errors
/// A folder that cannot be written.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(Error::io("write", to))?;
    sync_folder(to);
    Ok(())
}

/// Makes the temporary files.
fn temporary() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".siamese-").suffix(PARTIAL);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // What the user's mask does not forbid, as for any file.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder
}

fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Lets the disk know the new name. Some file systems cannot do that for a folder; the file is whole there too.
fn sync_folder(file: &Path) {
    if let Ok(folder) = File::open(folder(file)) {
        let _ = folder.sync_all();
    }
}

/// The temporary files of this process, for [`abandon`].
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes every file in the making, for a signal's handler that ends the process: nothing is dropped then.
pub fn abandon() {
    for part in std::mem::take(&mut *unfinished()) {
        // It is gone where it was finished a moment ago.
        let _ = fs::remove_file(part);
    }
}

/// A place in [`UNFINISHED`].
struct Listed(PathBuf);

impl Listed {
    fn new(part: &Path) -> Self {
        unfinished().insert(part.into());
        Self(part.into())
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        unfinished().remove(&self.0);
    }
}

/// Reads a whole file of at most `limit` bytes; `what` it should be (`a picture`) stands in messages.
///
/// # Errors
/// A file that cannot be read, a folder, or more bytes than the limit (devices and pipes included).
pub fn read(path: &Path, limit: u64, what: &str) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let found = file.metadata().map_err(Error::io("read", path))?;
    if found.is_dir() {
        return Err(Error::invalid(path.display(), format!("is a folder, not {what}")));
    }
    let mut bytes = Vec::with_capacity(found.len().min(limit) as usize);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > limit {
        let why = format!("is longer than {} MiB, too long for {what}", limit >> 20);
        return Err(Error::invalid(path.display(), why));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
        entries.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_replaced_when_it_is_finished_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        replace(&path, b"first").unwrap();
        let mut file = Replacement::create(&path).unwrap();
        file.append(b"..cond").unwrap();
        file.rewrite_head(b"se").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert!(file.partial().exists());
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        drop(Replacement::create(&path).unwrap());
        assert_eq!(names(dir.path()), ["a"], "nothing else is left");
        rename(&path, &dir.path().join("b")).unwrap();
        assert_eq!(names(dir.path()), ["b"]);
    }

    /// As on a file system without files that have no name.
    #[test]
    fn a_file_with_a_name_of_its_own_is_replaced_just_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        replace(&path, b"first").unwrap();
        let mut file = Replacement::create(&path).unwrap();
        let part = Part::named(temporary().tempfile_in(dir.path()).unwrap()).unwrap();
        file.writer = BufWriter::with_capacity(BUFFER, part);
        file.append(b"second").unwrap();
        assert!(names(dir.path()).iter().any(|name| name.ends_with(PARTIAL)));
        file.finish().unwrap();
        assert_eq!((fs::read(&path).unwrap(), names(dir.path())), (b"second".to_vec(), vec!["a".into()]));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_unfinished_file_has_no_name_here() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = Replacement::create(&dir.path().join("a")).unwrap();
        file.append(&vec![1; 2 * BUFFER]).unwrap();
        let named = !matches!(file.writer.get_ref(), Part::Unnamed(_));
        assert_eq!(names(dir.path()).len(), usize::from(named));
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let error = replace(dir.path(), b"x").unwrap_err().to_string();
        assert!(error.contains("is no file that could be replaced"), "{error}");
        let error = replace(&dir.path().join("absent/a"), b"x").unwrap_err().to_string();
        assert!(error.contains("absent"), "{error}");
        #[cfg(unix)]
        assert!(replace(Path::new("/dev/null"), b"x").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_any_file_and_links_stay() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
        fs::write(at("plain"), b"").unwrap();
        replace(&at("new"), b"x").unwrap();
        assert_eq!(mode("new"), mode("plain"));
        fs::set_permissions(at("new"), fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink("new", at("link")).unwrap();
        replace(&at("link"), b"y").unwrap();
        assert!(at("link").is_symlink());
        assert_eq!((fs::read(at("new")).unwrap(), mode("new")), (b"y".to_vec(), 0o600));
    }

    /// `/dev/full` takes nothing, as a full disk.
    #[cfg(target_os = "linux")]
    #[test]
    fn on_a_full_disk_the_earlier_file_survives_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        replace(&path, b"first").unwrap();
        for bytes in [10, 2 * BUFFER] {
            let mut file = Replacement::create(&path).unwrap();
            let full = File::options().write(true).open("/dev/full").unwrap();
            let (_, part) = temporary().tempfile_in(dir.path()).unwrap().into_parts();
            let part = Part::named(NamedTempFile::from_parts(full, part)).unwrap();
            file.writer = BufWriter::with_capacity(BUFFER, part);
            let written = file.append(&vec![0; bytes]).and_then(|()| file.finish());
            let error = format!("{:#}", anyhow::Error::from(written.unwrap_err()));
            assert!(error.contains("No space left on device"), "{error}");
            assert_eq!((fs::read(&path).unwrap(), names(dir.path())), (b"first".to_vec(), vec!["a".into()]));
        }
    }

    #[test]
    fn reading_has_a_limit_and_tells_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, vec![7; 1 << 20]).unwrap();
        assert_eq!(read(&path, 1 << 20, "a picture").unwrap().len(), 1 << 20);
        fs::write(&path, vec![7; (1 << 20) + 1]).unwrap();
        let error = read(&path, 1 << 20, "a picture").unwrap_err().to_string();
        assert!(error.contains("is longer than 1 MiB, too long for a picture"), "{error}");
        let error = read(dir.path(), 1, "a picture").unwrap_err().to_string();
        assert!(error.contains("is a folder, not a picture"), "{error}");
        #[cfg(target_os = "linux")]
        assert!(read(Path::new("/dev/zero"), 1 << 20, "a picture").is_err());
    }
}
