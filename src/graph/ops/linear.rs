//! Matrix products and convolutions.

use crate::graph::builder::{Attribute, OpResult, broadcast};
use crate::graph::{Graph, Value};

/// Attributes of a 2-D convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvAttrs {
    /// Along H and W.
    pub strides: [usize; 2],
    /// Zeros before H, before W, after H, after W.
    pub pads: [usize; 4],
    /// Along H and W.
    pub dilations: [usize; 2],
    /// Groups of channels that do not mix.
    pub groups: usize,
}

impl Default for ConvAttrs {
    fn default() -> Self {
        Self { strides: [1; 2], pads: [0; 4], dilations: [1; 2], groups: 1 }
    }
}

impl ConvAttrs {
    pub(super) fn attributes(&self, kernel: &[usize]) -> Vec<(&'static str, Attribute)> {
        let ints = |xs: &[usize]| Attribute::Ints(xs.iter().map(|&x| x as i64).collect());
        vec![
            ("kernel_shape", ints(kernel)),
            ("strides", ints(&self.strides)),
            ("pads", ints(&self.pads)),
            ("dilations", ints(&self.dilations)),
            ("group", Attribute::Int(self.groups as i64)),
        ]
    }

    /// The extent of a kernel of `k` taps along an axis.
    pub(in crate::graph) fn extent(&self, axis: usize, k: usize) -> usize {
        self.dilations[axis] * (k - 1) + 1
    }
}

impl Graph {
    /// Matrix product `[…, M, K] · […, K, N]` → `[…, M, N]`, leading axes broadcast.
    pub fn matmul(&mut self, a: Value, b: Value) -> OpResult {
        let (left, right) = (self.shape(a), self.shape(b));
        let fail = || self.misfit("MatMul", format!("shapes {left:?} and {right:?}"));
        if left.len() < 2 || right.len() < 2 || left[left.len() - 1] != right[right.len() - 2] {
            return Err(fail());
        }
        let (rows, columns) = (left[left.len() - 2], right[right.len() - 1]);
        let mut shape = broadcast(&[&left[..left.len() - 2], &right[..right.len() - 2]]).ok_or_else(fail)?;
        shape.extend([rows, columns]);
        let dtype = self.dtype(a);
        Ok(self.node("MatMul", &[a, b], vec![], dtype, shape))
    }

    /// `a′ · b′ + c` of matrices, each transposed where asked; `c` broadcasts to the result.
    pub fn gemm(&mut self, a: Value, b: Value, c: Option<Value>, trans_a: bool, trans_b: bool) -> OpResult {
        let (left, right) = (self.shape(a), self.shape(b));
        let fail = || {
            self.misfit(
                "Gemm",
                format!("shapes {left:?} (transposed: {trans_a}) and {right:?} (transposed: {trans_b})"),
            )
        };
        let (&[a0, a1], &[b0, b1]) = (left, right) else { return Err(fail()) };
        let (rows, inner) = if trans_a { (a1, a0) } else { (a0, a1) };
        let (inner_b, columns) = if trans_b { (b1, b0) } else { (b0, b1) };
        if inner != inner_b {
            return Err(fail());
        }
        let shape = vec![rows, columns];
        if let Some(c) = c.filter(|c| broadcast(&[&shape, self.shape(*c)]).as_ref() != Some(&shape)) {
            return Err(
                self.misfit("Gemm", format!("the bias {:?} does not broadcast to {shape:?}", self.shape(c)))
            );
        }
        let inputs: Vec<Value> = [a, b].into_iter().chain(c).collect();
        let flag = |on: bool| Attribute::Int(i64::from(on));
        let attributes = vec![("transA", flag(trans_a)), ("transB", flag(trans_b))];
        let dtype = self.dtype(a);
        Ok(self.node("Gemm", &inputs, attributes, dtype, shape))
    }

    /// Convolution of `x: [N, C, H, W]` with `w: [F, C/groups, kH, kW]` and `bias: [F]`.
    ///
    /// Uneven padding becomes a `Pad` of its own, because the CUDA provider has no gradient for it.
    pub fn conv(&mut self, x: Value, w: Value, bias: Option<Value>, attrs: ConvAttrs) -> OpResult {
        let [top, left, bottom, right] = attrs.pads;
        if top != bottom || left != right {
            let padded = self.pad(x, &[0, 0, top, left, 0, 0, bottom, right], 0.0)?;
            return self.conv(padded, w, bias, ConvAttrs { pads: [0; 4], ..attrs });
        }
        let shape = self.conv_shape(self.shape(x), self.shape(w), &attrs)?;
        if let Some(b) = bias.filter(|b| self.shape(*b) != [shape[1]]) {
            return Err(self.misfit("Conv", format!("bias {:?} for {} filters", self.shape(b), shape[1])));
        }
        let inputs: Vec<Value> = [x, w].into_iter().chain(bias).collect();
        let attributes = attrs.attributes(&self.shape(w)[2..]);
        let dtype = self.dtype(x);
        Ok(self.node("Conv", &inputs, attributes, dtype, shape))
    }

    /// `[N, F, H′, W′]` of [`Graph::conv`].
    pub(super) fn conv_shape(
        &self,
        input: &[usize],
        kernel: &[usize],
        attrs: &ConvAttrs,
    ) -> crate::Result<Vec<usize>> {
        let fail =
            |why: &str| self.misfit("Conv", format!("{why}: input {input:?}, kernel {kernel:?}, {attrs:?}"));
        let (&[n, c, h, width], &[filters, inner, kh, kw]) = (input, kernel) else {
            return Err(fail("4 axes are needed"));
        };
        if attrs.groups == 0 || inner * attrs.groups != c || filters % attrs.groups != 0 {
            return Err(fail("channels do not fit"));
        }
        let mut shape = vec![n, filters];
        for (axis, (side, k)) in [(h, kh), (width, kw)].into_iter().enumerate() {
            let room = (side + attrs.pads[axis] + attrs.pads[axis + 2]).checked_sub(attrs.extent(axis, k));
            shape.push(
                room.ok_or_else(|| fail("the kernel is larger than the image"))? / attrs.strides[axis] + 1,
            );
        }
        Ok(shape)
    }

    /// Transposed convolution of `x: [N, F, H, W]` with `w: [F, C/groups, kH, kW]`; `output_padding`
    /// adds rows and columns after the result.
    pub fn conv_transpose(
        &mut self,
        x: Value,
        w: Value,
        attrs: ConvAttrs,
        output_padding: [usize; 2],
    ) -> OpResult {
        let (input, kernel) = (self.shape(x), self.shape(w));
        let fail = |why: &str| {
            self.misfit("ConvTranspose", format!("{why}: input {input:?}, kernel {kernel:?}, {attrs:?}"))
        };
        let (&[n, f, h, width], &[filters, inner, kh, kw]) = (input, kernel) else {
            return Err(fail("4 axes are needed"));
        };
        if f != filters || attrs.groups == 0 || f % attrs.groups != 0 {
            return Err(fail("channels do not fit"));
        }
        let mut shape = vec![n, inner * attrs.groups];
        for (axis, (side, k)) in [(h, kh), (width, kw)].into_iter().enumerate() {
            let full = attrs.strides[axis] * (side - 1) + output_padding[axis] + attrs.extent(axis, k);
            let side = full.checked_sub(attrs.pads[axis] + attrs.pads[axis + 2]).filter(|s| *s > 0);
            shape.push(side.ok_or_else(|| fail("the padding leaves nothing"))?);
        }
        let mut attributes = attrs.attributes(&[kh, kw]);
        if output_padding != [0, 0] {
            attributes.push(("output_padding", Attribute::Ints(output_padding.map(|p| p as i64).into())));
        }
        let dtype = self.dtype(x);
        Ok(self.node("ConvTranspose", &[x, w], attributes, dtype, shape))
    }
}
