#![allow(clippy::unwrap_used)]
use super::*;
use crate::tower::{Distance, TowerKind, TowerSpec};
use std::path::{Path, PathBuf};

/// Embeds ink as its sum, its first row's sum, and the size of the batch; ink 200 at the corner
/// makes it fail to give a number.
pub(crate) struct Mock(pub TowerSpec);

impl Mock {
    pub fn new() -> Self {
        Self(TowerSpec {
            name: "mock".into(),
            kind: TowerKind::Float,
            preprocessing: Preprocessing::ink(4).with_tone(crate::image::Polarity::Light),
            dim: 3,
            distance: Distance::L1,
            batch: None,
            compatible_with: None,
            sha256: "0".repeat(64),
        })
    }
}

impl Embedder for Mock {
    fn spec(&self) -> &TowerSpec {
        &self.0
    }

    fn embed(&mut self, images: ArrayView4<'_, u8>) -> Result<Array2<f32>> {
        let sum = |view: ndarray::ArrayView2<'_, u8>| view.iter().map(|&x| f32::from(x)).sum::<f32>();
        Ok(Array2::from_shape_fn((images.shape()[0], 3), |(i, j)| {
            let ink = images.slice(s![i, 0, .., ..]);
            match j {
                _ if ink[(0, 0)] == 200 => f32::NAN,
                0 => sum(ink),
                1 => sum(ink.slice(s![..1, ..])),
                _ => images.shape()[0] as f32,
            }
        }))
    }
}

/// A picture whose ink is `level` everywhere.
fn picture(path: &Path, level: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    ::image::GrayImage::from_pixel(4, 4, ::image::Luma([level])).save(path).unwrap();
}

fn run(paths: impl IntoIterator<Item = PathBuf>) -> Vec<(String, Option<f32>)> {
    let mut told = Vec::new();
    pictures(PictureFiles::new(paths), &mut Mock::new(), |input, embedding| {
        told.push((input.source(), embedding.ok().map(|e| e[0])));
        Ok(())
    })
    .unwrap();
    told
}

#[test]
fn pictures_are_told_in_order_with_the_broken_ones() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..150_u8 {
        picture(&dir.path().join(format!("{i:03}.png")), i);
    }
    std::fs::write(dir.path().join("070.png"), "no picture").unwrap();
    picture(&dir.path().join("071.png"), 200);
    let told = run([dir.path().into()]);
    assert_eq!(told.len(), 150);
    for (i, (source, sum)) in told.iter().enumerate() {
        assert!(source.ends_with(&format!("{i:03}.png")));
        let expected = (![70, 71].contains(&i)).then_some(16.0 * i as f32);
        assert_eq!(*sum, expected, "{source}");
    }
}

#[test]
fn an_error_of_the_caller_ends_the_work() {
    let dir = tempfile::tempdir().unwrap();
    (0..200_u8).for_each(|i| picture(&dir.path().join(format!("{i:03}.png")), i / 2));
    let mut seen = 0;
    let stopped = pictures(PictureFiles::new([dir.path().into()]), &mut Mock::new(), |_, _| {
        seen += 1;
        if seen == 3 { Err(Error::invalid("here", "enough")) } else { Ok(()) }
    });
    assert!(stopped.unwrap_err().to_string().contains("enough"));
    assert_eq!(seen, 3);
}

/// The list is made as it is read: at no time are more pictures under way than the queue holds.
#[test]
fn decoding_never_runs_far_ahead() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let dir = tempfile::tempdir().unwrap();
    picture(&dir.path().join("one.png"), 7);
    let (issued, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let path = dir.path().join("one.png");
    let endless = (0..3000).map(|_| {
        issued.fetch_add(1, Ordering::SeqCst);
        Ok(PictureFile { path: path.clone(), label: String::new(), bytes: None })
    });
    let mut done = 0;
    pictures(endless, &mut Mock::new(), |_, _| {
        done += 1;
        most.fetch_max(issued.load(Ordering::SeqCst) - done, Ordering::SeqCst);
        Ok(())
    })
    .unwrap();
    assert_eq!(done, 3000);
    assert!(most.into_inner() <= (AHEAD + 3) * BATCH);
}

#[test]
fn images_of_a_data_set_are_embedded_in_batches() {
    let ink = Array4::from_shape_fn((130, 1, 4, 4), |(i, ..)| i as u8);
    let mut told = Vec::new();
    let all = images(ink.view(), &mut Mock::new(), |done| told.push(done)).unwrap();
    assert_eq!(told, [64, 128, 130]);
    assert_eq!((all[(129, 0)], all[(129, 2)], all[(0, 2)]), (129.0 * 16.0, 2.0, 64.0));
    let nan = Array4::from_elem((1, 1, 4, 4), 200);
    assert!(images(nan.view(), &mut Mock::new(), |_| ()).unwrap_err().to_string().contains("image 0"));
}

/// Writes `rows` embeddings `[i, −i, ½]` of sources `i.png`.
fn write(path: &Path, rows: usize) {
    let mut sink = create(path, &Mock::new().0).unwrap();
    for i in 0..rows {
        let x = i as f32;
        sink.row(&format!("{i}.png"), &format!("ä{}", i % 3), ndarray::aview1(&[x, -x, 0.5])).unwrap();
    }
    sink.finish().unwrap();
}

#[test]
fn npy_holds_the_array() {
    let dir = tempfile::tempdir().unwrap();
    for rows in [0, 1, 300] {
        write(&dir.path().join("e.npy"), rows);
        let bytes = std::fs::read(dir.path().join("e.npy")).unwrap();
        assert_eq!(bytes.len(), 128 + rows * 12);
        let head = String::from_utf8_lossy(&bytes[10..128]);
        assert!(head.contains(&format!("'shape': ({rows}, 3)")), "{head}");
        if rows == 300 {
            assert_eq!(bytes[128 + 299 * 12..][..4], 299.0_f32.to_le_bytes());
        }
    }
}

#[test]
fn safetensors_holds_the_tensor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.safetensors");
    write(&path, 300);
    let bytes = std::fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor("embeddings").unwrap();
    assert_eq!(tensor.shape(), [300, 3]);
    assert_eq!(tensor.data()[299 * 12 + 4..][..4], (-299.0_f32).to_le_bytes());
}

#[test]
fn json_lines_hold_sources_and_labels() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.jsonl");
    write(&path, 4);
    let text = std::fs::read_to_string(&path).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last, serde_json::json!({"source": "3.png", "label": "ä0", "embedding": [3.0, -3.0, 0.5]}));
}

/// The bytes are those that pyarrow 26 and DuckDB 2.0 read as 5,000 rows of `source`, `label`,
/// `embedding` (float[]), and whose values were compared there; a change must be read there again.
#[test]
fn parquet_is_what_other_readers_read() {
    use sha2::{Digest, Sha256};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.parquet");
    write(&path, 5000);
    let hash = Sha256::digest(std::fs::read(&path).unwrap());
    let hash: String = hash.iter().map(|b| format!("{b:02x}")).collect();
    if let Some(keep) = std::env::var_os("SIAMESE_KEEP_PARQUET") {
        std::fs::copy(&path, keep).unwrap();
    }
    assert_eq!(hash, "f11d282409cb47c0288732e79ab4905a036ec1318d2f072029956b16d3550fbf");
}

#[test]
fn a_file_appears_whole_or_not_at_all_and_only_under_a_name_that_tells() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.npy");
    drop(create(&path, &Mock::new().0).unwrap());
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    assert!(Format::of(Path::new("e.csv")).is_err() && Format::of(Path::new("e")).is_err());
}
