//! What a file is that is no ONNX model: people rename, half-fetch and mix up files, and a decoder's words
//! help nobody.

/// What a file is in place of an ONNX model, and what to do about it; none where its bytes tell nothing.
pub fn other_than_onnx(bytes: &[u8]) -> Option<String> {
    let (what, advice) = signature(bytes).or_else(|| container(bytes)).or_else(|| text(bytes))?;
    Some(format!("is not an ONNX model, but {what}: {advice}"))
}

type Told = (&'static str, &'static str);

const EXPORT: &str = "load it in its own framework and export it as ONNX (torch.onnx.export)";
const EXPORT_KERAS: &str = "convert it with tf2onnx";
const UNPACK: &str = "unpack it, and give the .onnx file inside";

/// Files that tell what they are in their first bytes: (place, bytes, what, advice).
const SIGNATURES: &[(usize, &[u8], Told)] = &[
    (0, b"\x1f\x8b", ("a gzip archive", UNPACK)),
    (0, b"BZh", ("a bzip2 archive", UNPACK)),
    (0, b"\xfd7zXZ", ("an xz archive", UNPACK)),
    (0, b"\x28\xb5\x2f\xfd", ("a Zstandard archive", UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", ("a 7-Zip archive", UNPACK)),
    (0, b"Rar!", ("a RAR archive", UNPACK)),
    (257, b"ustar", ("a tar archive", UNPACK)),
    (0, b"\x89HDF\r\n", ("an HDF5 file, as Keras writes (.h5)", EXPORT_KERAS)),
    (4, b"TFL3", ("a TensorFlow Lite model", "convert it with `python -m tf2onnx.convert --tflite`")),
    (4, b"ORTM", ("a model in ONNX Runtime's own format (.ort)", "give the .onnx file that it was made of")),
    (0, b"GGUF", ("a GGUF model", "give the ONNX export of the model")),
    (0, b"\x93NUMPY", ("a NumPy array", "give the model, not its numbers")),
    (0, b"\x89PNG", ("a PNG picture", "give the model first")),
    (0, b"\xff\xd8\xff", ("a JPEG picture", "give the model first")),
    (0, b"GIF8", ("a GIF picture", "give the model first")),
    (0, b"%PDF", ("a PDF document", "give the .onnx file")),
    (0, b"\x7fELF", ("a program or library", "give the .onnx file")),
    (0, b"MZ", ("a Windows program or library", "give the .onnx file")),
    (0, b"7767517\n", ("an ncnn model", "give the ONNX file that it was made of")),
];

fn signature(bytes: &[u8]) -> Option<Told> {
    let stands = |place: usize, sign: &[u8]| bytes.get(place..).is_some_and(|rest| rest.starts_with(sign));
    SIGNATURES.iter().find(|(place, sign, _)| stands(*place, sign)).map(|(_, _, told)| *told)
}

/// Zip archives by their entries, pickles, and safetensors.
fn container(bytes: &[u8]) -> Option<Told> {
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        // The first entries stand at the front, the list of all at the end.
        let ends = [&bytes[..bytes.len().min(1 << 16)], &bytes[bytes.len().saturating_sub(1 << 18)..]];
        let holds =
            |name: &[u8]| ends.iter().any(|part| part.windows(name.len()).any(|window| window == name));
        return Some(match () {
            () if holds(b"constants.pkl") => ("a TorchScript archive of PyTorch", EXPORT),
            () if holds(b"data.pkl") => ("a checkpoint of PyTorch (weights without a graph)", EXPORT),
            () if holds(b"config.json") && holds(b".weights.h5") => ("a Keras model", EXPORT_KERAS),
            () if holds(b".npy") => ("a NumPy archive", "give the model, not its numbers"),
            () => ("a zip archive", UNPACK),
        });
    }
    if let [0x80, 2..=5, ..] = bytes {
        return Some(("a Python pickle, as old PyTorch checkpoints are (weights without a graph)", EXPORT));
    }
    let header = bytes.first_chunk::<8>().map(|length| u64::from_le_bytes(*length));
    let safetensors = header.is_some_and(|length| (2..1 << 32).contains(&length));
    (safetensors && bytes.get(8) == Some(&b'{'))
        .then_some(("a safetensors file (weights without a graph)", EXPORT))
}

fn text(bytes: &[u8]) -> Option<Told> {
    const FETCH: &str = "fetch the model again, from an address that gives the file itself";
    let head = &bytes[..bytes.len().min(1024)];
    let head = String::from_utf8_lossy(head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head)).to_lowercase();
    let head = head.trim_start();
    let begins = |starts: &[&str]| starts.iter().any(|start| head.starts_with(start));
    Some(match () {
        () if bytes.is_empty() => ("an empty file", "fetch or export the model again"),
        () if head.is_empty() => ("a file of blanks", "fetch or export the model again"),
        () if head.starts_with("version https://git-lfs") => {
            ("a Git LFS pointer (it only names the model)", "fetch the model with `git lfs pull`")
        }
        () if begins(&["<!doctype html", "<html", "<head"]) => ("a web page", FETCH),
        () if begins(&["<?xml", "<net"]) && head.contains("<net") => {
            ("an OpenVINO model", "give the ONNX file that it was made of")
        }
        () if begins(&["<?xml", "<"]) => ("an XML document", FETCH),
        () if begins(&["{", "["]) && !head.contains('\0') => ("a JSON document", FETCH),
        () if bytes.iter().all(|&b| b == 0) => {
            ("a file of zeros", "fetch the model again: the disk or the transfer failed")
        }
        () if is_text(bytes) => ("a text file", FETCH),
        () => return None,
    })
}

/// Whether the first bytes are nothing but printable text and line breaks.
fn is_text(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(1024)];
    head.iter().all(|b| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_kind_is_called_by_its_name() {
        let zip = |entry: &str| [b"PK\x03\x04rest of the header", entry.as_bytes(), b"more"].concat();
        let mut tar = vec![b'x'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        let weights = [&9u64.to_le_bytes()[..], b"{\"w\":1}  ", &[0; 9]].concat();
        let kinds: [(Vec<u8>, &str, &str); 19] = [
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n".into(),
                "Git LFS pointer",
                "git lfs pull",
            ),
            (b"\n<!doctype HTML><title>Log in</title>".into(), "web page", "fetch"),
            (zip("tower/data.pkl"), "checkpoint of PyTorch", "export"),
            (zip("tower/code/constants.pkl"), "TorchScript", "export"),
            (zip("model.onnx"), "zip archive", "unpack"),
            (zip("model.weights.h5 config.json"), "Keras", "tf2onnx"),
            (b"\x80\x02ctorch\n".into(), "pickle", "export"),
            (weights, "safetensors", "export"),
            (b"\x1f\x8b\x08\0".into(), "gzip", "unpack"),
            (tar, "tar archive", "unpack"),
            (b"\x89HDF\r\n\x1a\n".into(), "HDF5", "tf2onnx"),
            (b"\x1c\0\0\0TFL3".into(), "TensorFlow Lite", "tf2onnx"),
            (b"\x18\0\0\0ORTM".into(), "own format", ".onnx"),
            (b"<?xml version=\"1.0\"?><net name=\"a\">".into(), "OpenVINO", "ONNX file"),
            (b"{\"error\": \"gated\"}".into(), "JSON", "fetch"),
            (b"Not Found\n".into(), "text file", "fetch"),
            (vec![0; 40], "file of zeros", "fetch"),
            (Vec::new(), "empty file", "export"),
            (b"\xff\xd8\xff\xe0".into(), "JPEG", "model"),
        ];
        for (bytes, what, advice) in kinds {
            let told = other_than_onnx(&bytes).unwrap();
            assert!(
                told.contains(what) && told.contains(advice) && told.contains("not an ONNX model"),
                "{told}"
            );
        }
        // The first bytes of a model: its IR version, its producer.
        assert_eq!(other_than_onnx(b"\x08\x08\x12\x07pytorch\x3a\xff\x01"), None);
    }
}
