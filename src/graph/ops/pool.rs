//! Pooling without padding; rows and columns that do not fill a window are left out. And its reverse.

use crate::graph::builder::signed;
use crate::graph::{Expr, Tensor};
use crate::onnx::{AttributeProto, Operator};

/// The attributes of a pool.
pub(super) fn window_attributes(window: [usize; 2], strides: [usize; 2]) -> Vec<AttributeProto> {
    vec![
        AttributeProto::ints("kernel_shape", signed(&window)),
        AttributeProto::ints("strides", signed(&strides)),
    ]
}

impl Expr<'_> {
    /// The maximum of each window of `[N, C, H, W]`.
    pub fn max_pool(self, window: [usize; 2], strides: [usize; 2]) -> Self {
        self.pool(Operator::MaxPool, window, strides)
    }

    /// The mean of each window of `[N, C, H, W]`.
    pub fn average_pool(self, window: [usize; 2], strides: [usize; 2]) -> Self {
        self.pool(Operator::AveragePool, window, strides)
    }

    fn pool(self, op: Operator, window: [usize; 2], strides: [usize; 2]) -> Self {
        self.graph().attempt(op.name(), || {
            let input = self.shape();
            let fail = |why: &str| format!("{why}: input {input:?}, window {window:?}, strides {strides:?}");
            let &[n, c, h, w] = input.as_slice() else { return Err(fail("4 axes are needed")) };
            let mut shape = vec![n, c];
            for (axis, side) in [h, w].into_iter().enumerate() {
                let room = side.checked_sub(window[axis]).filter(|_| strides[axis] > 0 && window[axis] > 0);
                let room = room.ok_or_else(|| fail("the window is larger than the image"))?;
                shape.push(room / strides[axis] + 1);
            }
            Ok(self.graph().node(op, &[self], window_attributes(window, strides), self.dtype(), shape))
        })
    }

    /// Each element of `[N, C, H, W]` repeated `factor[0]` times down and `factor[1]` across.
    pub fn upsample(self, factor: [usize; 2]) -> Self {
        self.graph().attempt("Resize", || {
            let [n, c, h, w] = self.dims()?;
            if factor == [1, 1] {
                return Ok(self);
            }
            let list = |xs: &[f32]| Tensor::F32(ndarray::arr1(xs).into_dyn());
            let scales = list(&[1.0, 1.0, factor[0] as f32, factor[1] as f32]);
            let name = format!("scales_{}x{}", factor[0], factor[1]);
            let scales = self.graph().initializer_once(&name, scales);
            // The region of interest is unused in this mode, but an input may not be left out before another.
            let region = self.graph().initializer_once("no_region", list(&[]));
            let attributes = vec![
                AttributeProto::text("mode", "nearest"),
                AttributeProto::text("coordinate_transformation_mode", "asymmetric"),
                AttributeProto::text("nearest_mode", "floor"),
            ];
            let shape = vec![n, c, h * factor[0], w * factor[1]];
            let inputs = [self, region, scales];
            Ok(self.graph().node(Operator::Resize, &inputs, attributes, self.dtype(), shape))
        })
    }
}
