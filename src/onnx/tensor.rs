//! Element types and constant tensors, and their ONNX form.

use super::{
    Dimension, DimensionValue, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, data_type,
    type_proto,
};
use crate::{Error, Result};
use ndarray::{ArrayD, IxDyn};

/// Element type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// float32
    F32,
    /// float64
    F64,
    /// uint8
    U8,
    /// int8
    I8,
    /// int32
    I32,
    /// int64
    I64,
    /// bool
    Bool,
}

impl DType {
    /// `TensorProto.DataType`.
    pub fn onnx(self) -> i32 {
        match self {
            Self::F32 => data_type::FLOAT,
            Self::F64 => data_type::DOUBLE,
            Self::U8 => data_type::UINT8,
            Self::I8 => data_type::INT8,
            Self::I32 => data_type::INT32,
            Self::I64 => data_type::INT64,
            Self::Bool => data_type::BOOL,
        }
    }

    /// The type of a `TensorProto.DataType`; none for one that is not computed with here.
    pub fn from_onnx(kind: i32) -> Option<Self> {
        Some(match kind {
            data_type::FLOAT => Self::F32,
            data_type::DOUBLE => Self::F64,
            data_type::UINT8 => Self::U8,
            data_type::INT8 => Self::I8,
            data_type::INT32 => Self::I32,
            data_type::INT64 => Self::I64,
            data_type::BOOL => Self::Bool,
            _ => return None,
        })
    }

    /// The usual name: `float32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::Bool => "bool",
        }
    }

    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }

    /// Whether derivatives flow through values of this type.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }
}

/// A tensor with its element type.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    /// float32
    F32(ArrayD<f32>),
    /// float64
    F64(ArrayD<f64>),
    /// uint8
    U8(ArrayD<u8>),
    /// int8
    I8(ArrayD<i8>),
    /// int32
    I32(ArrayD<i32>),
    /// int64
    I64(ArrayD<i64>),
    /// bool
    Bool(ArrayD<bool>),
}

impl Tensor {
    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::F64(_) => DType::F64,
            Self::U8(_) => DType::U8,
            Self::I8(_) => DType::I8,
            Self::I32(_) => DType::I32,
            Self::I64(_) => DType::I64,
            Self::Bool(_) => DType::Bool,
        }
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(a) => a.shape(),
            Self::F64(a) => a.shape(),
            Self::U8(a) => a.shape(),
            Self::I8(a) => a.shape(),
            Self::I32(a) => a.shape(),
            Self::I64(a) => a.shape(),
            Self::Bool(a) => a.shape(),
        }
    }

    /// The numbers in float64; int64 beyond 2⁵³ is rounded, true is 1.
    pub fn to_f64(&self) -> ArrayD<f64> {
        match self {
            Self::F32(a) => a.mapv(f64::from),
            Self::F64(a) => a.clone(),
            Self::U8(a) => a.mapv(f64::from),
            Self::I8(a) => a.mapv(f64::from),
            Self::I32(a) => a.mapv(f64::from),
            Self::I64(a) => a.mapv(|x| x as f64),
            Self::Bool(a) => a.mapv(f64::from),
        }
    }

    /// Numbers rounded to `dtype`.
    pub fn from_f64(values: &ArrayD<f64>, dtype: DType) -> Self {
        match dtype {
            DType::F32 => Self::F32(values.mapv(|x| x as f32)),
            DType::F64 => Self::F64(values.clone()),
            DType::U8 => Self::U8(values.mapv(|x| x as u8)),
            DType::I8 => Self::I8(values.mapv(|x| x as i8)),
            DType::I32 => Self::I32(values.mapv(|x| x as i32)),
            DType::I64 => Self::I64(values.mapv(|x| x as i64)),
            DType::Bool => Self::Bool(values.mapv(|x| x != 0.0)),
        }
    }

    /// From little-endian bytes, as runtimes and files hold tensors.
    ///
    /// # Errors
    /// Bytes that do not fill the shape.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<Self> {
        fn read<const W: usize, T>(
            shape: &[usize],
            bytes: &[u8],
            one: impl Fn([u8; W]) -> T,
        ) -> Option<ArrayD<T>> {
            let (words, rest) = bytes.as_chunks::<W>();
            let values = words.iter().map(|w| one(*w)).collect();
            rest.is_empty().then(|| ArrayD::from_shape_vec(IxDyn(shape), values).ok())?
        }
        match dtype {
            DType::F32 => read(shape, bytes, f32::from_le_bytes).map(Self::F32),
            DType::F64 => read(shape, bytes, f64::from_le_bytes).map(Self::F64),
            DType::U8 => read(shape, bytes, u8::from_le_bytes).map(Self::U8),
            DType::I8 => read(shape, bytes, i8::from_le_bytes).map(Self::I8),
            DType::I32 => read(shape, bytes, i32::from_le_bytes).map(Self::I32),
            DType::I64 => read(shape, bytes, i64::from_le_bytes).map(Self::I64),
            DType::Bool => read(shape, bytes, |[b]: [u8; 1]| b != 0).map(Self::Bool),
        }
        .ok_or_else(|| Error::invalid("a tensor", format!("{} bytes do not fill {shape:?}", bytes.len())))
    }

    /// Little-endian bytes in standard order.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::F32(a) => a.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F64(a) => a.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::U8(a) => a.iter().copied().collect(),
            Self::I8(a) => a.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::I32(a) => a.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::I64(a) => a.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::Bool(a) => a.iter().map(|&x| u8::from(x)).collect(),
        }
    }

    /// As an ONNX initialiser; numbers are stored little-endian.
    pub fn to_proto(&self, name: &str) -> TensorProto {
        TensorProto {
            dims: self.shape().iter().map(|&d| d as i64).collect(),
            data_type: Some(self.dtype().onnx()),
            name: Some(name.into()),
            raw_data: Some(self.to_bytes().into()),
            ..TensorProto::default()
        }
    }

    /// What a graph says of an input with this type and shape.
    pub fn value_info(&self, name: &str) -> ValueInfoProto {
        let dims = self.shape().iter();
        let dim = dims.map(|&d| Dimension { value: Some(DimensionValue::Value(d as i64)), denotation: None });
        let tensor = type_proto::Tensor {
            elem_type: Some(self.dtype().onnx()),
            shape: Some(TensorShapeProto { dim: dim.collect() }),
        };
        let kind = TypeProto { value: Some(type_proto::Value::Tensor(tensor)), denotation: None };
        ValueInfoProto { name: Some(name.into()), r#type: Some(kind), ..ValueInfoProto::default() }
    }

    /// NaNs and infinities.
    pub fn non_finite(&self) -> usize {
        match self {
            Self::F32(a) => a.iter().filter(|x| !x.is_finite()).count(),
            Self::F64(a) => a.iter().filter(|x| !x.is_finite()).count(),
            _ => 0,
        }
    }
}

impl TensorProto {
    /// Changes its bytes, which it may share with others, in a copy of its own.
    pub fn edit_raw(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut raw = self.raw_data().to_vec();
        change(&mut raw);
        self.raw_data = Some(raw.into());
    }
}

/// The numbers of an ONNX tensor of any numeric type, in float64 (int64 beyond 2⁵³ is rounded).
///
/// # Errors
/// Data that is kept outside the file, of a type without numbers, or not of the length that the
/// shape tells.
pub fn numbers(tensor: &TensorProto) -> Result<ArrayD<f64>> {
    shaped(tensor, |kind| match &tensor.raw_data {
        Some(raw) if !raw.is_empty() => raw_numbers(kind, raw),
        _ => typed_numbers(kind, tensor),
    })
}

/// The same rounded to float32; weights in float32 are read as they are.
///
/// # Errors
/// As [`numbers`].
pub fn floats(tensor: &TensorProto) -> Result<ArrayD<f32>> {
    if tensor.data_type != Some(data_type::FLOAT) || tensor.raw_data().is_empty() {
        return Ok(numbers(tensor)?.mapv(|x| x as f32));
    }
    shaped(tensor, |_| Some(tensor.raw_data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()))
}

/// What is read of a tensor's elements, by their type, in its shape.
fn shaped<T>(tensor: &TensorProto, read: impl FnOnce(i32) -> Option<Vec<T>>) -> Result<ArrayD<T>> {
    let name = tensor.name.as_deref().unwrap_or("");
    let fail = |why: String| Error::invalid(format!("tensor {name:?}"), why);
    if tensor.data_location == Some(1) {
        return Err(fail("its data is outside the model file, which is not read here".into()));
    }
    let kind = tensor.data_type.unwrap_or(0);
    let shape: Vec<usize> = tensor
        .dims
        .iter()
        .map(|&d| usize::try_from(d))
        .collect::<std::result::Result<_, _>>()
        .map_err(|_| fail(format!("has a negative dimension: {:?}", tensor.dims)))?;
    let values =
        read(kind).ok_or_else(|| fail(format!("element type {kind} is not a number that is known here")))?;
    let count = values.len();
    ArrayD::from_shape_vec(IxDyn(&shape), values)
        .map_err(|_| fail(format!("holds {count} numbers, which do not fill the shape {shape:?}")))
}

fn raw_numbers(kind: i32, raw: &[u8]) -> Option<Vec<f64>> {
    fn each<const N: usize>(raw: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        raw.as_chunks::<N>().0.iter().map(|bytes| read(*bytes)).collect()
    }
    Some(match kind {
        data_type::FLOAT => each(raw, |b| f64::from(f32::from_le_bytes(b))),
        data_type::DOUBLE => each(raw, f64::from_le_bytes),
        data_type::INT8 => each(raw, |b| f64::from(i8::from_le_bytes(b))),
        data_type::UINT8 | data_type::BOOL => each(raw, |[b]| f64::from(b)),
        data_type::INT32 => each(raw, |b| f64::from(i32::from_le_bytes(b))),
        data_type::INT64 => each(raw, |b| i64::from_le_bytes(b) as f64),
        data_type::FLOAT16 => each(raw, |b| half(u16::from_le_bytes(b))),
        _ => return None,
    })
}

fn typed_numbers(kind: i32, t: &TensorProto) -> Option<Vec<f64>> {
    Some(match kind {
        data_type::FLOAT => t.float_data.iter().map(|&x| f64::from(x)).collect(),
        data_type::DOUBLE => t.double_data.clone(),
        data_type::INT64 => t.int64_data.iter().map(|&x| x as f64).collect(),
        data_type::INT8 | data_type::UINT8 | data_type::INT32 | data_type::BOOL => {
            t.int32_data.iter().map(|&x| f64::from(x)).collect()
        }
        data_type::FLOAT16 => t.int32_data.iter().map(|&x| half(x as u16)).collect(),
        _ => return None,
    })
}

/// IEEE 754 binary16 → float64.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        e => (1.0 + fraction / 1024.0) * 2f64.powi(e - 15),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tensors_survive_bytes_and_float64() {
        let numbers = ndarray::array![[0.0, 1.0], [3.0, 127.0]].into_dyn();
        for dtype in [DType::F32, DType::F64, DType::U8, DType::I8, DType::I32, DType::I64] {
            let tensor = Tensor::from_f64(&numbers, dtype);
            assert_eq!(tensor.to_f64(), numbers);
            assert_eq!(Tensor::from_bytes(dtype, tensor.shape(), &tensor.to_bytes()).unwrap(), tensor);
        }
        let flags = Tensor::from_f64(&numbers, DType::Bool);
        assert_eq!(flags.to_bytes(), [0, 1, 1, 1]);
    }

    #[test]
    fn bytes_that_do_not_fill_the_shape_are_an_error() {
        assert!(Tensor::from_bytes(DType::F32, &[2], &[0; 7]).is_err());
        assert!(Tensor::from_bytes(DType::F32, &[3], &[0; 8]).is_err());
    }

    #[test]
    fn tensors_survive_the_file_form() {
        let t = Tensor::I64(ndarray::array![[1i64, -2], [3, 4]].into_dyn());
        assert_eq!(numbers(&t.to_proto("t")).unwrap(), ndarray::array![[1.0, -2.0], [3.0, 4.0]].into_dyn());
    }

    #[test]
    fn half_floats_are_read() {
        assert_eq!(half(0x3c00), 1.0);
        assert_eq!(half(0xc000), -2.0);
        assert_eq!(half(0x0001), 2f64.powi(-24));
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn a_tensor_that_does_not_fill_its_shape_is_an_error() {
        let mut proto = Tensor::F32(ndarray::arr1(&[1.0f32, 2.0]).into_dyn()).to_proto("w");
        proto.dims = vec![3];
        assert!(numbers(&proto).unwrap_err().to_string().contains("2 numbers"));
        proto.dims = vec![-1];
        assert!(numbers(&proto).is_err());
    }
}
