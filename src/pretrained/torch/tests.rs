//! Files of our own making, as torch writes them, and with every fault that we could think of.
#![allow(clippy::unwrap_used)]

use super::*;
use ndarray::{ArrayD, IxDyn};

/// A pickle in the making.
struct Pickle(Vec<u8>);

impl Pickle {
    fn new() -> Self {
        Self(vec![0x80, 2])
    }

    fn op(mut self, op: u8) -> Self {
        self.0.push(op);
        self
    }

    fn int(mut self, n: usize) -> Self {
        self.0.push(b'J');
        self.0.extend(i32::try_from(n).unwrap().to_le_bytes());
        self
    }

    fn text(mut self, text: &str) -> Self {
        self.0.push(b'X');
        self.0.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        self.0.extend(text.as_bytes());
        self
    }

    fn global(mut self, module: &str, name: &str) -> Self {
        self.0.extend(format!("c{module}\n{name}\n").as_bytes());
        self
    }

    fn tuple(self, sizes: &[usize]) -> Self {
        sizes.iter().fold(self.op(b'('), |p, &n| p.int(n)).op(b't')
    }

    fn end(self) -> Vec<u8> {
        self.op(b'.').0
    }

    /// A tensor of a storage of its own.
    fn tensor(self, class: &str, key: &str, shape: &[usize], strides: &[usize], count: usize) -> Self {
        self.global("torch._utils", "_rebuild_tensor_v2")
            .op(b'(')
            .op(b'(')
            .text("storage")
            .global("torch", class)
            .text(key)
            .text("cpu")
            .int(count)
            .op(b'N')
            .op(b't')
            .op(b'Q')
            .int(0)
            .tuple(shape)
            .tuple(strides)
            .op(0x89)
            .global("collections", "OrderedDict")
            .op(b')')
            .op(b'R')
            .op(b't')
            .op(b'R')
    }
}

fn strides(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}

fn head() -> Vec<u8> {
    let mut bytes = vec![0x80, 2, 0x8a, 10];
    bytes.extend(MAGIC);
    bytes.push(b'.');
    bytes.extend(Pickle::new().int(1001).end());
    bytes.extend(Pickle::new().op(b'}').text("little_endian").op(0x88).op(b's').end());
    bytes
}

fn keys(keys: &[String]) -> Vec<u8> {
    keys.iter().fold(Pickle::new().op(b']').op(b'('), |p, key| p.text(key)).op(b'e').end()
}

/// A file with these tensors, float32 or int64.
pub fn file(tensors: &BTreeMap<String, Tensor>) -> Vec<u8> {
    let mut pickle = Pickle::new().global("collections", "OrderedDict").op(b')').op(b'R').op(b'(');
    for (place, (name, tensor)) in tensors.iter().enumerate() {
        let class = if tensor.dtype() == DType::F32 { "FloatStorage" } else { "LongStorage" };
        let shape = tensor.shape();
        let count = shape.iter().product();
        pickle = pickle.text(name).tensor(class, &place.to_string(), shape, &strides(shape), count);
    }
    // As torch does, with notes of versions as the dictionary's state.
    let state = pickle.op(b'u').op(b'}').text("_metadata").op(b'}').op(b's').op(b'b').end();
    let names: Vec<String> = (0..tensors.len()).map(|place| place.to_string()).collect();
    let mut bytes = [head(), state, keys(&names)].concat();
    for tensor in tensors.values() {
        bytes.extend((tensor.shape().iter().product::<usize>() as u64).to_le_bytes());
        bytes.extend(tensor.to_bytes());
    }
    bytes
}

fn some() -> BTreeMap<String, Tensor> {
    let floats = ArrayD::from_shape_fn(IxDyn(&[2, 3]), |i| i[0] as f32 - 0.5 * i[1] as f32);
    let whole = ArrayD::from_shape_fn(IxDyn(&[]), |_| -7_i64);
    BTreeMap::from([("a.weight".into(), Tensor::F32(floats)), ("n".into(), Tensor::I64(whole))])
}

fn refused(bytes: &[u8]) -> String {
    read(bytes, "x.pth").unwrap_err().to_string()
}

#[test]
fn a_file_that_torch_wrote_is_read() {
    // Written by fixtures/published.py.
    let bytes = include_bytes!("../../../fixtures/legacy.pth");
    let found = read(bytes, "legacy.pth").unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), ["count", "half", "turned", "whole"]);
    let whole =
        ArrayD::from_shape_fn(IxDyn(&[2, 3, 2]), |i| (6 * i[0] + 2 * i[1] + i[2]) as f32 * 0.25 - 1.0);
    assert_eq!(found["half"], Tensor::F32(whole.index_axis(ndarray::Axis(0), 1).to_owned()));
    assert_eq!(found["turned"], Tensor::F32(whole.t().as_standard_layout().into_owned()));
    assert_eq!(found["whole"], Tensor::F32(whole));
    assert_eq!(found["count"], Tensor::I64(ndarray::arr0(1_234_567_890_123).into_dyn()));
}

#[test]
fn what_is_written_is_read() {
    assert_eq!(read(&file(&some()), "x.pth").unwrap(), some());
    assert_eq!(read(&file(&BTreeMap::new()), "x.pth").unwrap(), BTreeMap::new());
}

#[test]
fn every_other_name_is_refused_and_not_executed() {
    for (module, name) in
        [("os", "system"), ("builtins", "eval"), ("torch", "load"), ("collections", "deque")]
    {
        let call = Pickle::new().global(module, name).op(b'(').text("rm -r /").op(b't').op(b'R').end();
        let said = refused(&[head(), call].concat());
        assert!(said.contains(&format!("names {module}.{name}")) && said.contains("not executed"), "{said}");
    }
    // Instructions that make objects of classes, or reach for names in other ways.
    for op in [b'i', b'o', b'S', b'V', 0x81, 0x93, 0x8c, 0x92, 0x82, b'P', b'F', b'G', 0x95] {
        let said = refused(&[head(), Pickle::new().op(op).op(0).op(0).op(0).op(0).end()].concat());
        assert!(said.contains("instruction") && said.contains("not executed"), "{op:#x}: {said}");
    }
}

#[test]
fn known_names_are_called_as_torch_does_or_not_at_all() {
    let cases = [
        Pickle::new().global("collections", "OrderedDict").op(b'(').int(3).op(b't').op(b'R'),
        Pickle::new().global("torch", "FloatStorage").op(b')').op(b'R'),
        Pickle::new().global("torch._utils", "_rebuild_tensor_v2").op(b')').op(b'R'),
        Pickle::new().int(1).op(b')').op(b'R'),
        Pickle::new().int(1).op(b'}').op(b'b'),
        Pickle::new().text("storage").op(b'Q'),
        Pickle::new().op(b'(').text("module").op(b't').op(b'Q'),
    ];
    for case in cases {
        let said = refused(&[head(), case.end()].concat());
        assert!(said.starts_with("x.pth: has a"), "{said}");
    }
}

#[test]
fn tensors_that_are_not_where_they_say_are_refused() {
    let with = |shape: &[usize], steps: &[usize], count: usize| {
        let pickle = Pickle::new().op(b'}').text("w").tensor("FloatStorage", "7", shape, steps, count);
        let numbers = [6_u64.to_le_bytes().to_vec(), vec![0; 24]].concat();
        [head(), pickle.op(b's').end(), keys(&["7".into()]), numbers].concat()
    };
    assert!(read(&with(&[2, 3], &[3, 1], 6), "x.pth").is_ok());
    assert!(read(&with(&[0, 2_000_000_000, 2_000_000_000], &[0, 0, 1], 6), "x.pth").is_ok());
    for (shape, steps, count, told) in [
        (vec![2, 4], vec![4, 1], 6, "beyond its storage"),
        (vec![2, 3], vec![4, 1], 6, "beyond its storage"),
        (vec![2, 3], vec![usize::MAX >> 40, 1], 6, "beyond its storage"),
        (vec![2, 3], vec![3, 1], 7, "which has 6"),
        (vec![2, 3], vec![1], 6, "2 axes and 1 strides"),
        (vec![1; 17], vec![1; 17], 6, "17 axes"),
        (vec![100, 100], vec![0, 0], 6, "bytes in a file"),
        (vec![2_000_000_000], vec![1], 6, "bytes in a file"),
    ] {
        let said = refused(&with(&shape, &steps, count));
        assert!(said.contains(told), "{shape:?}: {said}");
    }
}

#[test]
fn a_file_cut_anywhere_or_changed_anywhere_is_refused_or_read_and_never_a_panic() {
    let whole = file(&some());
    for length in 0..whole.len() {
        refused(&whole[..length]);
    }
    for place in 0..whole.len() {
        for byte in [0, 1, 255, b'.', b'(', b'R', b'c', whole[place] ^ 0x80, whole[place] ^ 1] {
            let mut changed = whole.clone();
            changed[place] = byte;
            let _ = read(&changed, "x.pth");
        }
    }
    assert!(refused(&[whole.as_slice(), &[0]].concat()).contains("1 bytes behind its end"));
    assert!(refused(b"PK\x03\x04").contains("zip format"));
}

#[test]
fn texts_that_are_remembered_take_no_more_memory_than_the_file() {
    // A text of 4 KB recalled again and again, and a text that claims to be longer than any.
    let mut pickle = Pickle::new().op(b']').op(b'(').text(&"x".repeat(4000)).op(b'q').op(0);
    for _ in 0..400_000 {
        pickle = pickle.op(b'h').op(0);
    }
    assert!(refused(&[head(), pickle.op(b'e').end()].concat()).contains("a dictionary should be"));
    let mut long = Pickle::new().op(b'X');
    long.0.extend(u32::MAX.to_le_bytes());
    assert!(refused(&[head(), long.end()].concat()).contains("a text of 4294967295 bytes"));
    let endless = Pickle(vec![b'N'; 1_100_000]);
    assert!(refused(&[head(), endless.end()].concat()).contains("instructions"));
}
