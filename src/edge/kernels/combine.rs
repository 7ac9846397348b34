//! Two maps, element by element.

/// What is made of two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a · b`.
    Mul,
    /// `a / b`.
    Div,
    /// The greater.
    Max,
    /// The smaller.
    Min,
}

/// A map and where its runs begin.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    /// The map.
    pub data: &'a [f32],
    /// Where each run begins.
    pub at: &'a [u32],
}

passes! {
    /// Combines runs of `width` elements.
    pub fn combine[](
        how: Binary,
        left: Operand<'_>,
        right: Operand<'_>,
        width: usize,
        out: &mut [f32],
        at: &[u32],
    ) = combine;
}

#[inline(always)]
fn combine(how: Binary, left: Operand<'_>, right: Operand<'_>, width: usize, out: &mut [f32], at: &[u32]) {
    match how {
        Binary::Mul => each(left, right, width, out, at, |a, b| a * b),
        Binary::Div => each(left, right, width, out, at, |a, b| a / b),
        Binary::Max => each(left, right, width, out, at, f32::max),
        Binary::Min => each(left, right, width, out, at, f32::min),
    }
}

#[inline(always)]
fn each(
    left: Operand<'_>,
    right: Operand<'_>,
    width: usize,
    out: &mut [f32],
    at: &[u32],
    of: impl Fn(f32, f32) -> f32,
) {
    for ((a, b), at) in left.at.iter().zip(right.at).zip(at) {
        let (a, b) = (&left.data[*a as usize..][..width], &right.data[*b as usize..][..width]);
        let out = &mut out[*at as usize..][..width];
        out.iter_mut().zip(a.iter().zip(b)).for_each(|(to, (a, b))| *to = of(*a, *b));
    }
}
