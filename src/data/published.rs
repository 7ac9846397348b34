//! What the published data sets are: their files, homes and checksums.

use super::archive::Archive;
use super::{idx, omniglot};
use crate::image::{self, Preprocessing};
use crate::{Error, Result, files};
use clap::ValueEnum;
use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::Path;

/// A data set that `siamese data get` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Published {
    /// Lake, Salakhutdinov, Tenenbaum 2015.
    Omniglot,
    /// LeCun, Cortes, Burges 1998.
    Mnist,
}

impl Published {
    /// Its name, and that of its folder inside a data folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Omniglot => "omniglot",
            Self::Mnist => "mnist",
        }
    }

    /// Its files.
    pub(super) fn files(self) -> &'static [PublishedFile] {
        match self {
            Self::Omniglot => &OMNIGLOT,
            Self::Mnist => &MNIST,
        }
    }

    /// Where it is published; [`PublishedFile::path`] continues it.
    pub(super) fn home(self) -> &'static str {
        match self {
            Self::Omniglot => "https://raw.githubusercontent.com/brendenlake/omniglot/master/python",
            Self::Mnist => "https://storage.googleapis.com/cvdf-datasets/mnist",
        }
    }
}

/// A file of a data set.
#[derive(Debug)]
pub(super) struct PublishedFile {
    /// Its name in the data folder.
    pub name: &'static str,
    /// Its path below the set's home.
    pub path: &'static str,
    /// SHA-256 of the file in the packings that are known.
    sha256: &'static [&'static str],
    /// SHA-256 of what is inside, however it is packed; see [`contents`].
    contents: Option<&'static str>,
}

const OMNIGLOT: [PublishedFile; 3] = [
    PublishedFile {
        name: "images_background.zip",
        path: "images_background.zip",
        sha256: &["73392f163d63797878faeec7decf1bc6ced46036c50e8ac42e3f13f9ccfb830d"],
        contents: Some("9a8d0e3d47dc6838b899f5671509cce1d92853bc6813c15276cae3c28041ac18"),
    },
    PublishedFile {
        name: "images_evaluation.zip",
        path: "images_evaluation.zip",
        sha256: &["ba69d2208cb8de088e4c70008e91bfb1dbf158f467c60044067832f4a86fa477"],
        contents: Some("2d0b23be3243d5e6ceedac0239f53fe2361c635c04e6669a140f91dbfdc53c39"),
    },
    PublishedFile {
        name: "all_runs.zip",
        path: "one-shot-classification/all_runs.zip",
        sha256: &["437c1eeab0af8484112e1b4cc0f3d541ec727f7c47b9b202da738af9dfd6c325"],
        contents: None,
    },
];

/// First the packing of the public mirrors, then one with the images in another order.
const MNIST: [PublishedFile; 4] = [
    PublishedFile {
        name: "train-images-idx3-ubyte.gz",
        path: "train-images-idx3-ubyte.gz",
        sha256: &[
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "a9519732c030d67c5c2eb058b4f09eae700fa5a32a91154f2c846a5487e9937f",
        ],
        contents: Some("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    },
    PublishedFile {
        name: "train-labels-idx1-ubyte.gz",
        path: "train-labels-idx1-ubyte.gz",
        sha256: &[
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "220f867d8c4afadfde9ea4e9bd54938a3d833be119dcb33b537f6640225a14cf",
        ],
        contents: Some("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    },
    PublishedFile {
        name: "t10k-images-idx3-ubyte.gz",
        path: "t10k-images-idx3-ubyte.gz",
        sha256: &[
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "5d3c17ea29480bb5f3b3dc7e5c96ae0935afd6b7954308bacd3ed4f4bf729959",
        ],
        contents: Some("0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    },
    PublishedFile {
        name: "t10k-labels-idx1-ubyte.gz",
        path: "t10k-labels-idx1-ubyte.gz",
        sha256: &[
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "3488cb86f5c9ea4df9b83eeff4cc2fe79b87c76807fbe6468a373741e92688e1",
        ],
        contents: Some("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    },
];

/// Checks that the file at `path` is `file`: by its own checksum, else by that of its contents,
/// so that the same drawings in another packing are accepted and any changed one is not.
pub(super) fn check(file: &PublishedFile, path: &Path) -> Result<()> {
    let bytes = files::read(path, super::MAX_FILE_BYTES, "a file of a data set")?;
    let found = hex(&Sha256::digest(&bytes));
    if file.sha256.contains(&found.as_str()) {
        return Ok(());
    }
    if let Some(wanted) = file.contents
        && contents(file, bytes, path)? == wanted
    {
        return Ok(());
    }
    let why = format!(
        "is not {} as published: its SHA-256 is {found}, expected {}; remove it and get it again",
        file.name,
        file.sha256.join(" or ")
    );
    Err(Error::invalid(path.display(), why))
}

/// SHA-256 of what a file holds: of an idx file, the bytes inside the gzip; of an archive of
/// drawings, for each drawing by path the SHA-256 of `alphabet/character/file`, a zero byte and
/// the 105×105 ink levels.
fn contents(file: &PublishedFile, bytes: Vec<u8>, path: &Path) -> Result<String> {
    let name = path.display().to_string();
    if !file.name.ends_with(".zip") {
        return Ok(hex(&Sha256::digest(idx::inflate(bytes, &name)?)));
    }
    let archive = Archive::from_bytes(bytes, &name)?;
    let drawings = omniglot::drawings(&archive)?;
    let reader = archive.reader()?;
    let how = omniglot::dark(&Preprocessing::ink(omniglot::SIDE));
    let digests: Vec<[u8; 32]> = drawings
        .par_iter()
        .map_init(
            || (reader.split(), Vec::new()),
            |(reader, png), drawing| {
                reader.read(drawing.entry, png)?;
                let ink = image::decode(png, &archive.label(drawing.entry), &how)?;
                let mut digest = Sha256::new();
                digest.update(drawing.path());
                digest.update([0]);
                digest.update(ink.as_slice().unwrap_or_default());
                Ok(digest.finalize().into())
            },
        )
        .collect::<Result<_>>()?;
    let mut whole = Sha256::new();
    digests.iter().for_each(|digest| whole.update(digest));
    Ok(hex(&whole.finalize()))
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod real_data {
    use super::*;
    use crate::data::tests::real_data::folder;

    #[test]
    #[ignore = "needs SIAMESE_DATA"]
    fn the_checksums_of_files_and_of_contents_name_the_same_drawings() {
        for file in &OMNIGLOT {
            let path = folder().join("omniglot").join(file.name);
            check(file, &path).unwrap();
            if let Some(wanted) = file.contents {
                assert_eq!(contents(file, std::fs::read(&path).unwrap(), &path).unwrap(), wanted);
            }
        }
        for file in &MNIST {
            check(file, &folder().join("mnist").join(file.name)).unwrap();
        }
    }
}
