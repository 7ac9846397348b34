//! The readers: bytes → whatever, through the same functions as the verbs.

use ndarray::Array4;
use siamese::data;
use siamese::data::idx::parse;
use siamese::export::{self, ImportOptions};
use siamese::gallery::{Gallery, Location};
use siamese::image::{self, Frame, Preprocessing};
use siamese::model::{Recipe, read_params};
use siamese::onnx::ModelProto;
use siamese::runtime::{Options, TRACT};
use siamese::tower::TowerSpec;
use std::fs;
use std::path::Path;

/// Reads an input; what comes of it does not matter.
pub type Reader = Box<dyn FnMut(&[u8]) + Send>;

/// A reader of files.
fn of_file(name: &'static str, mut read: impl FnMut(&Path) + Send + 'static) -> Reader {
    let dir = tempfile::tempdir().unwrap();
    Box::new(move |bytes| {
        let file = dir.path().join(name);
        fs::write(&file, bytes).unwrap();
        read(&file);
    })
}

/// Foreign models: `inspect`, `import`, and `embed` with what comes of it.
pub fn model() -> Reader {
    of_file("model.onnx", |file| {
        let _ = export::inspect(file, true);
        let options = ImportOptions { dim: Some(4), ..ImportOptions::default() };
        if let Ok(imported) = export::import(file, &options) {
            embed(&encoded(&imported.model));
        }
    })
}

/// Towers: `inspect` and `embed`.
pub fn tower() -> Reader {
    of_file("tower.onnx", |file| {
        let _ = export::inspect(file, true);
        embed(&fs::read(file).unwrap());
    })
}

fn encoded(model: &ModelProto) -> Vec<u8> {
    prost::Message::encode_to_vec(model)
}

/// Embeds two pictures on tract.
fn embed(bytes: &[u8]) {
    let runner = TRACT.with(Options { threads: 1, ..Options::default() }).unwrap();
    let Ok(mut embedder) = runner.load_bytes(bytes, "tower.onnx") else { return };
    let how = embedder.spec().preprocessing.clone();
    // What is larger is a matter of patience.
    let model: ModelProto = prost::Message::decode(bytes).unwrap();
    let few = siamese::walk::flop(&model).is_none_or(|flop| flop < 1 << 30)
        && siamese::walk::largest(&model).is_none_or(|(_, count)| count < 1 << 22);
    if how.size() <= 64 && few {
        let images = Array4::from_elem((2, how.channels(), how.size(), how.size()), 100);
        let _ = embedder.embed(images.view());
    }
}

/// A tower's metadata: lines of a key, a tab and a value.
pub fn metadata() -> Reader {
    let bytes =
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/tower/convolutions.onnx")).unwrap();
    let model: ModelProto = prost::Message::decode(bytes.as_slice()).unwrap();
    Box::new(move |bytes| {
        let mut model = model.clone();
        let text = String::from_utf8_lossy(bytes);
        let entries = text.lines().filter_map(|line| line.split_once('\t'));
        model.metadata_props = entries
            .map(|(key, value)| siamese::onnx::StringStringEntryProto {
                key: Some(key.into()),
                value: Some(value.into()),
            })
            .collect();
        let _ = TowerSpec::from_bytes(&encoded(&model), "tower.onnx");
        let _ = siamese::tower::Provenance::read(&model);
    })
}

/// Galleries: SQLite files.
pub fn gallery() -> Reader {
    of_file("gallery", |file| {
        let Ok(gallery) = Gallery::open(&Location::from(file)) else { return };
        let _ = gallery.classes();
        let _ = gallery.examples();
        let _ = gallery.load();
    })
}

/// Recipes: JSON.
pub fn recipe() -> Reader {
    Box::new(|bytes| {
        if let Ok(recipe) = Recipe::parse(&String::from_utf8_lossy(bytes), "recipe.json") {
            let _ = siamese::model::plan(&recipe);
        }
    })
}

/// Checkpoints and finished parameters: safetensors files.
pub fn parameters() -> Reader {
    of_file("params.safetensors", |file| drop(read_params(file)))
}

/// Zip files of drawings.
pub fn omniglot() -> Reader {
    Box::new(|bytes| drop(data::omniglot::from_zip(bytes.to_vec(), "a.zip", &Preprocessing::ink(9))))
}

/// Zip files of one-shot runs.
pub fn lake() -> Reader {
    Box::new(|bytes| drop(data::lake::from_zip(bytes.to_vec(), "a.zip", &Preprocessing::ink(9))))
}

/// idx files, with gzip or without.
pub fn idx() -> Reader {
    Box::new(|bytes| {
        for rank in [1, 3] {
            let _ = parse(bytes.to_vec(), rank, "a.idx");
        }
    })
}

/// Pictures of all formats.
pub fn picture() -> Reader {
    Box::new(|bytes| {
        let _ = image::decode(bytes, "a", &Preprocessing::framed(16, Frame::Ink));
        let colours = Preprocessing::Rgb { size: 16, filter: Default::default(), crop: 0.875 };
        let _ = image::decode(bytes, "a", &colours);
    })
}
