//! A tensor of any element type that crosses between runtimes.

use crate::graph::DType;
use crate::onnx::{
    Dimension, DimensionValue, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use crate::{Error, Result};
use ndarray::{ArrayD, IxDyn};

/// A tensor with its element type.
#[derive(Clone, Debug, PartialEq)]
pub enum Blob {
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

/// One expression for the array of whatever type.
macro_rules! each {
    ($blob:expr, $a:ident => $body:expr) => {
        match $blob {
            Blob::F32($a) => $body,
            Blob::F64($a) => $body,
            Blob::U8($a) => $body,
            Blob::I8($a) => $body,
            Blob::I32($a) => $body,
            Blob::I64($a) => $body,
            Blob::Bool($a) => $body,
        }
    };
}

impl Blob {
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
        each!(self, a => a.shape())
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

    /// As an ONNX tensor.
    pub fn to_proto(&self, name: &str) -> TensorProto {
        TensorProto {
            dims: self.shape().iter().map(|&d| d as i64).collect(),
            data_type: Some(self.dtype().onnx()),
            name: Some(name.into()),
            raw_data: Some(self.to_bytes()),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ndarray::array;

    #[test]
    fn blobs_survive_bytes_and_float64() {
        let numbers = array![[0.0, 1.0], [3.0, 127.0]].into_dyn();
        for dtype in [DType::F32, DType::F64, DType::U8, DType::I8, DType::I32, DType::I64] {
            let blob = Blob::from_f64(&numbers, dtype);
            assert_eq!(blob.to_f64(), numbers);
            assert_eq!(Blob::from_bytes(dtype, blob.shape(), &blob.to_bytes()).unwrap(), blob);
        }
        let flags = Blob::from_f64(&numbers, DType::Bool);
        assert_eq!(flags.to_bytes(), [0, 1, 1, 1]);
    }

    #[test]
    fn bytes_that_do_not_fill_the_shape_are_an_error() {
        assert!(Blob::from_bytes(DType::F32, &[2], &[0; 7]).is_err());
        assert!(Blob::from_bytes(DType::F32, &[3], &[0; 8]).is_err());
    }
}
