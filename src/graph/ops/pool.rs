//! Pooling without padding; rows and columns that do not fill a window are left out.

use crate::graph::builder::{Attribute, OpResult};
use crate::graph::{Graph, Value};

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
        let fail = |why: &str| self.misfit(op, format!("{why}: input {input:?}, window {window:?}, strides {strides:?}"));
        let &[n, c, h, w] = input else { return Err(fail("4 axes are needed")) };
        let mut shape = vec![n, c];
        for (axis, side) in [h, w].into_iter().enumerate() {
            let room = side.checked_sub(window[axis]).filter(|_| strides[axis] > 0 && window[axis] > 0);
            shape.push(room.ok_or_else(|| fail("the window is larger than the image"))? / strides[axis] + 1);
        }
        let ints = |xs: [usize; 2]| Attribute::Ints(xs.map(|x| x as i64).into());
        let dtype = self.dtype(x);
        Ok(self.node(op, &[x], vec![("kernel_shape", ints(window)), ("strides", ints(strides))], dtype, shape))
    }
}
