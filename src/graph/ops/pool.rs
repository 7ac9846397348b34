//! Pooling without padding; rows and columns that do not fill a window are left out.

use crate::graph::builder::{Attribute, OpResult};
use crate::graph::{Graph, Tensor, Value};

impl Graph {
    /// The maximum of each window of `x: [N, C, H, W]`.
    pub fn max_pool(&mut self, x: Value, window: [usize; 2], strides: [usize; 2]) -> OpResult {
        self.pool("MaxPool", x, window, strides)
    }

    /// The mean of each window of `x: [N, C, H, W]`.
    pub fn average_pool(&mut self, x: Value, window: [usize; 2], strides: [usize; 2]) -> OpResult {
        self.pool("AveragePool", x, window, strides)
    }

    fn pool(&mut self, op: &'static str, x: Value, window: [usize; 2], strides: [usize; 2]) -> OpResult {
        let input = self.shape(x);
        let fail = |why: &str| {
            self.misfit(op, format!("{why}: input {input:?}, window {window:?}, strides {strides:?}"))
        };
        let &[n, c, h, w] = input else { return Err(fail("4 axes are needed")) };
        let mut shape = vec![n, c];
        for (axis, side) in [h, w].into_iter().enumerate() {
            let room = side.checked_sub(window[axis]).filter(|_| strides[axis] > 0 && window[axis] > 0);
            shape.push(room.ok_or_else(|| fail("the window is larger than the image"))? / strides[axis] + 1);
        }
        let ints = |xs: [usize; 2]| Attribute::Ints(xs.map(|x| x as i64).into());
        let dtype = self.dtype(x);
        Ok(self.node(
            op,
            &[x],
            vec![("kernel_shape", ints(window)), ("strides", ints(strides))],
            dtype,
            shape,
        ))
    }
}

impl Graph {
    /// Each element of `x: [N, C, H, W]` repeated `factor[0]` times down and `factor[1]` across.
    pub fn upsample(&mut self, x: Value, factor: [usize; 2]) -> OpResult {
        let &[n, c, h, w] = self.shape(x) else {
            return Err(self.misfit("Resize", format!("4 axes are needed, not {:?}", self.shape(x))));
        };
        if factor == [1, 1] {
            return Ok(x);
        }
        // The region of interest is unused in this mode, but an input may not be left out before another.
        let scales = [1.0, 1.0, factor[0] as f32, factor[1] as f32];
        let name = format!("scales_{}x{}", factor[0], factor[1]);
        let scales = self.initializer_once(&name, Tensor::F32(ndarray::arr1(&scales).into_dyn()));
        let region = self.initializer_once("no_region", Tensor::F32(ndarray::arr1(&[0f32; 0]).into_dyn()));
        let attributes = vec![
            ("mode", Attribute::Text("nearest")),
            ("coordinate_transformation_mode", Attribute::Text("asymmetric")),
            ("nearest_mode", Attribute::Text("floor")),
        ];
        let (dtype, shape) = (self.dtype(x), vec![n, c, h * factor[0], w * factor[1]]);
        Ok(self.node("Resize", &[x, region, scales], attributes, dtype, shape))
    }
}
