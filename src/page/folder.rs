//! A folder that any web server can hold: the page, a tower, a gallery; it asks for nothing else.

use super::{FILES, Options, PAGE, check_size, exported};
use crate::browser;
use crate::edge::kernels::Kernels;
use crate::gallery::Gallery;
use crate::tower::TowerSpec;
use crate::{Error, Result, files};
use flate2::read::GzDecoder;
use serde::Serialize;
use std::borrow::Cow;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// What in the page tells who answers, and what stands there in a folder; with it browsers load nothing from elsewhere.
const ANSWERS: [[&str; 2]; 2] = [
    ["<html lang=\"en\" data-answers=\"server\">", "<html lang=\"en\" data-answers=\"browser\">"],
    [
        "<meta charset=\"utf-8\">",
        "<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'\">",
    ],
];

/// For those who write pages of their own.
const FACE: [(&str, &str); 2] =
    [("siamese.d.ts", include_str!("siamese.d.ts")), ("package.json", include_str!("package.json"))];

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Written {
    /// The folder.
    pub folder: PathBuf,
    /// Its files.
    pub files: usize,
    /// Bytes in all.
    pub bytes: u64,
}

/// Writes the page of a gallery and of its tower, whose file's bytes these are.
///
/// # Errors
/// A tower or gallery by which no browser can recognise; a folder that cannot be written.
pub fn write(folder: &Path, gallery: &Gallery, tower: &[u8], options: Options) -> Result<Written> {
    let (spec, _) = TowerSpec::from_bytes(tower, "the tower")?;
    gallery.check(&spec)?;
    check_size(gallery, &spec)?;
    // As the module will: what it would refuse there is refused here.
    let opened = browser::Tower::open(tower, Kernels::best())?;
    let spec = opened.spec();
    let known = exported(gallery, spec, options)?;
    browser::Gallery::open(&known, spec).map_err(|e| e.at(&gallery.location().to_string()))?;
    let mut all = vec![("index.html", Cow::Owned(page().into_bytes()))];
    for file in FILES {
        all.push((file.name, if file.gzipped { inflated(file.bytes)?.into() } else { file.bytes.into() }));
    }
    all.extend(FACE.map(|(name, text)| (name, text.as_bytes().into())));
    all.extend([("tower.onnx", tower.into()), ("gallery.safetensors", known.into())]);
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    for (name, bytes) in &all {
        files::replace(&folder.join(name), bytes)?;
    }
    let bytes = all.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    Ok(Written { folder: folder.into(), files: all.len(), bytes })
}

/// The page that asks nobody.
fn page() -> String {
    ANSWERS.iter().fold(PAGE.to_string(), |page, [asks, asks_nobody]| page.replacen(asks, asks_nobody, 1))
}

fn inflated(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut inflated = Vec::new();
    let read = GzDecoder::new(bytes).read_to_end(&mut inflated);
    read.map_err(|e| Error::invalid_because("the module inside the program", "is damaged", e))?;
    Ok(inflated)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_page_of_a_folder_differs_from_a_server_s_where_it_must() {
        let page = page();
        for [asks, asks_nobody] in ANSWERS {
            assert_eq!(PAGE.matches(asks).count(), 1, "{asks}");
            assert!(page.contains(asks_nobody), "{asks_nobody}");
        }
        assert!(!page.contains("data-answers=\"server\""));
    }

    #[test]
    fn the_module_is_small() {
        let module = FILES.iter().find(|file| file.gzipped).unwrap();
        let inflated = inflated(module.bytes).unwrap();
        assert!(inflated.starts_with(b"\0asm"));
        assert!(inflated.len() <= 1_000_000 && module.bytes.len() <= 400_000, "{} bytes", inflated.len());
    }
}
