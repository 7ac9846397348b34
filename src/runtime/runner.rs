//! A runtime with its options: loads towers, runs graphs.

use super::{Device, Embedder, Engine, Lookup, OptLevel, Options, Runtime, support};
use crate::onnx::ModelProto;
use crate::tower::{self, TowerSpec};
use crate::{Result, walk};
use bytes::Bytes;
use std::fmt;
use std::path::{Path, PathBuf};

/// What a runtime does; each is one file or folder of this room.
pub trait Backend: fmt::Debug + Sync {
    /// The version of what is built in.
    fn version(&self) -> &'static str;

    /// The library outside this program that it needs, found, or installed where that may be, and loaded;
    /// none where it needs none.
    ///
    /// # Errors
    /// [`Error::Missing`](crate::Error::Missing) where there is none.
    fn library(&self, lookup: &Lookup) -> Result<Option<LibraryFile>> {
        let _ = lookup;
        Ok(None)
    }

    /// Makes a tower ready to embed.
    ///
    /// # Errors
    /// Where it cannot run the tower: all operators that it lacks are named at once.
    fn open(&self, options: &Options, tower: ReadTower<'_>) -> Result<Box<dyn Embedder>>;

    /// Makes ready to run whole graphs.
    ///
    /// # Errors
    /// A library or a device that is missing.
    fn engine(&self, options: &Options) -> Result<Box<dyn Engine>>;
}

/// A library outside this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryFile {
    /// The file.
    pub path: PathBuf,
    /// What it says of itself.
    pub version: String,
}

/// A tower's file that was read.
pub struct ReadTower<'a> {
    /// Its facts.
    pub spec: TowerSpec,
    /// What its bytes say.
    pub model: &'a ModelProto,
    /// The bytes.
    pub bytes: &'a [u8],
    /// What messages call it.
    pub name: &'a str,
}

/// A runtime of this build, with options that it takes.
#[derive(Clone, Debug)]
pub struct Runner {
    pub(super) runtime: &'static Runtime,
    pub(super) backend: &'static dyn Backend,
    pub(super) options: Options,
}

impl Runner {
    /// The runtime.
    pub fn runtime(&self) -> &'static Runtime {
        self.runtime
    }

    /// How it runs.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// How far it rewrites graphs; none where that cannot be chosen.
    pub fn level(&self) -> Option<OptLevel> {
        (!self.runtime.levels.is_empty()).then(|| self.options.level.unwrap_or_default())
    }

    /// Its name on its device: `ort`, `ort-cuda`.
    pub fn name(&self) -> String {
        self.runtime.on(self.options.device)
    }

    /// Its title, version and device, for reports.
    ///
    /// # Errors
    /// As [`Runner::library`].
    pub fn about(&self) -> Result<String> {
        let title = self.runtime.title;
        Ok(match self.library()? {
            Some(library) => format!("{title} {} ({:?})", library.version, self.options.device),
            None => format!("{title} {}", self.backend.version()),
        })
    }

    /// The library outside this program that it needs, loaded; none where it needs none.
    ///
    /// # Errors
    /// [`Error::Missing`](crate::Error::Missing) where there is none.
    pub fn library(&self) -> Result<Option<LibraryFile>> {
        let cuda = self.options.library.cuda || self.options.device == Device::Cuda;
        self.backend.library(&Lookup { cuda, ..self.options.library.clone() })
    }

    /// The same runtime with other options.
    ///
    /// # Errors
    /// An option that it does not take.
    pub fn with(&self, options: Options) -> Result<Self> {
        self.runtime.with(options)
    }

    /// Opens a tower file.
    ///
    /// # Errors
    /// As [`TowerSpec::read`]; and when the runtime is not there, or cannot run the tower: then all
    /// operators that it lacks are named at once.
    pub fn load(&self, path: &Path) -> Result<Box<dyn Embedder>> {
        self.load_shared(&tower::read_bytes(path)?.into(), &path.display().to_string())
    }

    /// As [`Runner::load`], of a file's bytes; `name` stands in messages.
    ///
    /// # Errors
    /// As [`Runner::load`].
    pub fn load_bytes(&self, bytes: &[u8], name: &str) -> Result<Box<dyn Embedder>> {
        self.load_shared(&Bytes::copy_from_slice(bytes), name)
    }

    fn load_shared(&self, bytes: &Bytes, name: &str) -> Result<Box<dyn Embedder>> {
        let (spec, model) = TowerSpec::shared(bytes, name)?;
        self.open(ReadTower { spec, model: &model, bytes, name })
    }

    /// As [`Runner::load`], of a tower that was read already.
    ///
    /// # Errors
    /// As [`Runner::load`], but for the reading.
    pub fn open(&self, tower: ReadTower<'_>) -> Result<Box<dyn Embedder>> {
        support::check_outputs(tower.model, tower.name)?;
        support::check_inference(tower.model, tower.name)?;
        walk::check_size(tower.model).map_err(|e| e.at(tower.name))?;
        self.backend.open(&self.options, tower)
    }

    /// What runs whole graphs.
    ///
    /// # Errors
    /// A library or a device that is missing.
    pub fn engine(&self) -> Result<Box<dyn Engine>> {
        self.backend.engine(&self.options)
    }
}
