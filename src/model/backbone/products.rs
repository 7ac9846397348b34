//! Rules of convolutions and matrix products.

use super::node::{Made, Node};
use crate::graph::{ConvAttrs, Expr};

/// Up to so many pairs of pixels of a map and of the result, channels by themselves are convolved as products.
const SMALL: usize = 1 << 13;

/// A convolution as it is built.
#[derive(Clone, Copy)]
pub(super) struct Convolution<'g> {
    pub x: Expr<'g>,
    pub w: Expr<'g>,
    pub bias: Option<Expr<'g>>,
    pub attrs: ConvAttrs,
}

impl<'g> Convolution<'g> {
    /// That of a node, along one axis or two; an image of one axis is one of a single row.
    pub fn of(n: &Node<'_, 'g>) -> Result<Self, String> {
        let (mut x, mut w) = (n.x(0)?, n.x(1)?);
        if x.rank() == 3 {
            [x, w] = [x, w].map(|v| v.reshape(&[v.dim(0), v.dim(1), 1, v.dim(2)]));
        }
        let (&[_, _, h, width], &[_, _, kh, kw]) = (x.shape().as_slice(), w.shape().as_slice()) else {
            return Err(format!("goes over {} axes; 1 and 2 can be trained", x.rank().saturating_sub(2)));
        };
        let window = Window::of(n, [kh, kw])?;
        let attrs = ConvAttrs {
            strides: window.strides,
            pads: window.pads([h, width]),
            dilations: window.dilations,
            groups: usize::try_from(n.proto.int_or("group", 1)).map_err(|e| e.to_string())?,
        };
        Ok(Self { x, w, bias: n.may(2), attrs })
    }

    /// Built for the CPU's provider, or for any.
    pub fn build(&self, shape: &[usize], cpu: bool) -> Expr<'g> {
        let alone = self.attrs.groups > 1 && self.w.dim(1) == 1 && self.w.dim(0) == self.x.dim(1);
        let pixels = self.x.dim(2) * self.x.dim(3);
        let places = shape[2..].iter().product::<usize>();
        let y = if cpu && alone && pixels * places <= SMALL {
            self.x.conv_of_small_maps(self.w, self.bias, self.attrs)
        } else {
            self.x.conv(self.w, self.bias, self.attrs)
        };
        y.reshape(shape)
    }

    /// With each channel of the result times a factor, plus a shift.
    pub fn scaled(&self, factor: Expr<'g>, shift: Expr<'g>) -> Self {
        let w = self.w * factor.reshape(&[self.w.dim(0), 1, 1, 1]);
        let bias = self.bias.map_or(shift, |bias| bias * factor + shift);
        Self { w, bias: Some(bias), ..*self }
    }
}

/// How a window slides over images; of one axis, over a single row.
pub(super) struct Window {
    pub sides: [usize; 2],
    pub strides: [usize; 2],
    pub dilations: [usize; 2],
    told: [usize; 4],
    /// As many zeros as let ⌈side/stride⌉ windows fit; of an odd number, the one too many comes last, or first.
    same: Option<Odd>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Odd {
    Last,
    First,
}

impl Window {
    pub fn of(n: &Node<'_, '_>, sides: [usize; 2]) -> Result<Self, String> {
        let pair = |name: &str| list::<2>(n, name, 1);
        let same = match n.proto.text("auto_pad") {
            Some("SAME_UPPER") => Some(Odd::Last),
            Some("SAME_LOWER") => Some(Odd::First),
            _ => None,
        };
        let told = match n.proto.text("auto_pad") {
            None | Some("NOTSET" | "") => list::<4>(n, "pads", 0)?,
            Some(_) => [0; 4],
        };
        Ok(Self { sides, strides: pair("strides")?, dilations: pair("dilations")?, told, same })
    }

    pub fn pads(&self, image: [usize; 2]) -> [usize; 4] {
        let Some(odd) = self.same else { return self.told };
        let along = |axis: usize| {
            let (side, stride) = (image[axis], self.strides[axis]);
            let reach = (side.div_ceil(stride) - 1) * stride + self.extent(axis);
            let total = reach.saturating_sub(side);
            let less = total / 2;
            if odd == Odd::Last { [less, total - less] } else { [total - less, less] }
        };
        let ([top, bottom], [left, right]) = (along(0), along(1));
        [top, left, bottom, right]
    }

    /// From the first tap to the last.
    pub fn extent(&self, axis: usize) -> usize {
        self.dilations[axis] * (self.sides[axis] - 1) + 1
    }
}

/// A list of an attribute: for each axis, or for both ends of each; a single axis is that of columns.
fn list<const N: usize>(n: &Node<'_, '_>, name: &str, default: usize) -> Result<[usize; N], String> {
    let Some(told) = n.proto.ints(name).filter(|list| !list.is_empty()) else { return Ok([default; N]) };
    let numbers: Vec<usize> = told
        .iter()
        .map(|&i| usize::try_from(i).map_err(|_| format!("its {name} holds {i}")))
        .collect::<Result<_, _>>()?;
    let spread =
        if 2 * numbers.len() == N { numbers.iter().flat_map(|&i| [default, i]).collect() } else { numbers };
    let count = spread.len();
    spread.try_into().map_err(|_| format!("its {name} has {count} numbers"))
}

pub(super) fn conv<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    Ok(Convolution::of(n)?.build(n.shape()?, n.cpu))
}

pub(super) fn gemm<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let (a, b, c) = (n.x(0)?, n.x(1)?, n.may(2));
    let [alpha, beta] = ["alpha", "beta"].map(|name| n.proto.float_or(name, 1.0));
    let a = if alpha == 1.0 { a } else { a * alpha };
    let c = c.map(|c| if beta == 1.0 { c } else { c * beta });
    Ok(a.gemm(b, c, ["transA", "transB"].map(|name| n.proto.flag(name))))
}

/// A vector is a matrix of one row or column.
pub(super) fn matmul<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let (mut a, mut b) = (n.x(0)?, n.x(1)?);
    if a.rank() == 1 {
        a = a.reshape(&[1, a.count()]);
    }
    if b.rank() == 1 {
        b = b.reshape(&[b.count(), 1]);
    }
    Ok(a.matmul(b).reshape(n.shape()?))
}

/// Two factors whose letters are those of a batch, of one of them, or summed over: a product of matrices
/// between transpositions.
pub(super) fn einsum<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let equation: String = n.proto.text("equation").unwrap_or_default().split_whitespace().collect();
    let unknown = || format!("of {equation:?} has no derivative; two factors of plain letters have");
    let (inputs, out) = equation.split_once("->").ok_or_else(unknown)?;
    let (left, right) = inputs.split_once(',').ok_or_else(unknown)?;
    let lists = [left, right, out].map(|letters| letters.chars().collect::<Vec<char>>());
    let plain = |letters: &Vec<char>| {
        letters.iter().enumerate().all(|(i, c)| c.is_ascii_alphabetic() && !letters[..i].contains(c))
    };
    let [left, right, out] = &lists;
    if !lists.iter().all(plain) || n.inputs.len() != 2 {
        return Err(unknown());
    }
    let (a, b) = (n.x(0)?, n.x(1)?);
    let side = |c: &char| match (left.iter().position(|l| l == c), right.iter().position(|l| l == c)) {
        (Some(i), _) => a.dim(i),
        (None, Some(j)) => b.dim(j),
        (None, None) => 1,
    };
    let kinds = |of: &dyn Fn(bool, bool, bool) -> bool| -> Vec<char> {
        let mut all: Vec<char> = left.iter().chain(right).copied().collect();
        all.dedup();
        let mut kept: Vec<char> = Vec::new();
        for c in all {
            if !kept.contains(&c) && of(left.contains(&c), right.contains(&c), out.contains(&c)) {
                kept.push(c);
            }
        }
        kept
    };
    let batch = kinds(&|l, r, o| l && r && o);
    let summed = kinds(&|l, r, o| l && r && !o);
    let rows = kinds(&|l, r, o| l && !r && o);
    let columns = kinds(&|l, r, o| !l && r && o);
    if batch.len() + summed.len() + rows.len() != left.len()
        || batch.len() + summed.len() + columns.len() != right.len()
    {
        return Err(unknown());
    }
    let count = |letters: &[char]| letters.iter().map(side).product::<usize>();
    let turned = |x: Expr<'g>, own: &[char], order: [&[char]; 3]| {
        let places: Vec<usize> =
            order.concat().iter().filter_map(|c| own.iter().position(|o| o == c)).collect();
        x.transpose(&places).reshape(&order.map(count))
    };
    let product =
        turned(a, left, [&batch, &rows, &summed]).matmul(turned(b, right, [&batch, &summed, &columns]));
    let made = [batch.as_slice(), &rows, &columns].concat();
    let sides: Vec<usize> = made.iter().map(side).collect();
    let order: Vec<usize> = out.iter().filter_map(|c| made.iter().position(|m| m == c)).collect();
    if order.len() != made.len() {
        return Err(unknown());
    }
    Ok(product.reshape(&sides).transpose(&order))
}
