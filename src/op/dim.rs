//! Numbers as far as they are known before a model runs: sizes of axes, and elements of small constants.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::sync::Arc;

/// A number, a polynomial of symbols that stand for sizes, or nothing that is known.
///
/// Numbers are float64, so that no arithmetic on sizes of a hostile file can overflow; sizes beyond 2⁵³
/// are no sizes here.
#[derive(Clone, Debug, PartialEq)]
pub enum Dim {
    /// A number.
    Known(f64),
    /// Factors of products of symbols.
    Open(Polynomial),
    /// Nothing is known.
    Unknown,
}

/// The factor of each product of symbols (sorted, a power repeated); the empty product is a number alone.
pub type Polynomial = BTreeMap<Vec<Arc<str>>, f64>;

/// What grows beyond these is no longer followed.
const MOST_TERMS: usize = 32;
const HIGHEST_DEGREE: usize = 16;
const LONGEST_SYMBOL: usize = 256;
/// float64 holds every integer up to here.
const LARGEST: f64 = (1u64 << 53) as f64;

impl Dim {
    /// A symbol that stands for one size, whatever it is.
    pub fn symbol(name: &str) -> Self {
        if name.len() > LONGEST_SYMBOL {
            return Self::Unknown;
        }
        Self::Open(BTreeMap::from([(vec![name.into()], 1.0)]))
    }

    /// The number, where it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Known(x) => Some(*x),
            Self::Open(_) | Self::Unknown => None,
        }
    }

    /// The size, where it is a number that can be one.
    pub fn size(&self) -> Option<usize> {
        self.number().filter(|x| (0.0..=LARGEST).contains(x) && x.fract() == 0.0).map(|x| x as usize)
    }

    /// Whether it is this number.
    pub fn is(&self, x: f64) -> bool {
        self.number() == Some(x)
    }

    /// Whether both are the same number, whatever the symbols stand for.
    pub fn same(&self, other: &Self) -> bool {
        *self != Self::Unknown && self == other
    }

    /// Whether both can be the same number.
    pub fn may_equal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Known(a), Self::Known(b)) => a == b,
            _ => true,
        }
    }

    /// The factor of a symbol that it is a multiple of; none where it is anything else.
    pub fn times(&self, symbol: &str) -> Option<f64> {
        let Self::Open(terms) = self else { return None };
        match terms.iter().next() {
            Some((symbols, factor))
                if terms.len() == 1 && matches!(symbols.as_slice(), [only] if **only == *symbol) =>
            {
                Some(*factor)
            }
            _ => None,
        }
    }

    /// The greatest integer that is not above it.
    pub fn floor(self) -> Self {
        match self {
            Self::Known(x) => Self::Known(x.floor()),
            Self::Open(terms) if terms.values().all(|factor| factor.fract() == 0.0) => Self::Open(terms),
            Self::Open(_) | Self::Unknown => Self::Unknown,
        }
    }

    /// `⌊self / by⌋`.
    pub fn floor_div(&self, by: f64) -> Self {
        let terms = match self {
            Self::Known(x) => return Self::Known((x / by).floor()),
            Self::Unknown => return Self::Unknown,
            Self::Open(terms) => terms,
        };
        // What can be divided is an integer of its own; the number among the rest is floored if it is alone.
        let (whole, rest): (Polynomial, Polynomial) =
            terms.clone().into_iter().partition(|(_, factor)| factor % by == 0.0);
        let whole = Self::of(whole.into_iter().map(|(symbols, factor)| (symbols, factor / by)).collect());
        match Self::of(rest) {
            Self::Known(x) => &whole + &Self::Known((x / by).floor()),
            rest => &whole + &Self::symbol(&format!("floor(({rest})/{by})")),
        }
    }

    /// `⌈self / by⌉` of an integer by an integer.
    pub fn ceil_div(&self, by: f64) -> Self {
        (self + &Self::Known(by - 1.0)).floor_div(by)
    }

    /// `self / by` where the quotient is known to be an integer.
    pub fn over(&self, by: &Self) -> Self {
        if self.same(by) {
            return Self::Known(1.0);
        }
        let (Some(terms), Some(divisor)) = (self.terms(), by.terms()) else { return Self::Unknown };
        let mut divisor = divisor.into_iter();
        let (Some((symbols, factor)), None) = (divisor.next(), divisor.next()) else { return Self::Unknown };
        let quotients = terms.into_iter().map(|(mut from, x)| {
            for symbol in &symbols {
                from.remove(from.iter().position(|s| s == symbol)?);
            }
            Some((from, x / factor)).filter(|(_, x)| x.fract() == 0.0)
        });
        quotients.collect::<Option<Polynomial>>().map_or(Self::Unknown, Self::of)
    }

    fn terms(&self) -> Option<Polynomial> {
        match self {
            Self::Known(x) => Some(BTreeMap::from([(Vec::new(), *x)])),
            Self::Open(terms) => Some(terms.clone()),
            Self::Unknown => None,
        }
    }

    fn of(mut terms: Polynomial) -> Self {
        terms.retain(|_, factor| *factor != 0.0);
        let number = terms.get(&Vec::new()).copied().unwrap_or(0.0);
        match terms.len() {
            0 => Self::Known(0.0),
            1 if number != 0.0 => Self::Known(number),
            n if n > MOST_TERMS || terms.keys().any(|s| s.len() > HIGHEST_DEGREE) => Self::Unknown,
            _ => Self::Open(terms),
        }
    }

    fn plus(&self, other: &Self, sign: f64) -> Self {
        if let (Self::Known(a), Self::Known(b)) = (self, other) {
            return Self::Known(a + sign * b);
        }
        let (Some(mut sum), Some(terms)) = (self.terms(), other.terms()) else { return Self::Unknown };
        for (symbols, factor) in terms {
            *sum.entry(symbols).or_insert(0.0) += sign * factor;
        }
        Self::of(sum)
    }
}

impl Add for &Dim {
    type Output = Dim;
    fn add(self, other: Self) -> Dim {
        self.plus(other, 1.0)
    }
}

impl Sub for &Dim {
    type Output = Dim;
    fn sub(self, other: Self) -> Dim {
        self.plus(other, -1.0)
    }
}

impl Mul for &Dim {
    type Output = Dim;
    fn mul(self, other: Self) -> Dim {
        if let (Dim::Known(a), Dim::Known(b)) = (self, other) {
            return Dim::Known(a * b);
        }
        if self.is(0.0) || other.is(0.0) {
            return Dim::Known(0.0);
        }
        let (Some(a), Some(b)) = (self.terms(), other.terms()) else { return Dim::Unknown };
        let mut product = Polynomial::new();
        for (symbols, factor) in &a {
            for (others, by) in &b {
                let mut all = [symbols.as_slice(), others].concat();
                all.sort();
                *product.entry(all).or_insert(0.0) += factor * by;
            }
        }
        Dim::of(product)
    }
}

/// The product of all sizes: the number of elements.
pub fn product(dims: &[Dim]) -> Dim {
    dims.iter().fold(Dim::Known(1.0), |product, dim| &product * dim)
}

/// `product(of) / product(by)`, by what both hold first.
pub fn quotient(of: &[Dim], by: &[Dim]) -> Dim {
    let mut left = of.to_vec();
    let mut rest = Vec::new();
    for dim in by {
        match left.iter().position(|d| d.same(dim)) {
            Some(place) => drop(left.swap_remove(place)),
            None => rest.push(dim.clone()),
        }
    }
    product(&left).over(&product(&rest))
}

/// The size to which two broadcast (numpy's rule, in which 1 fits all); none if they do not.
pub fn broadcast_dim(a: &Dim, b: &Dim) -> Option<Dim> {
    match (a, b) {
        (one, other) | (other, one) if one.is(1.0) => Some(other.clone()),
        (a, b) if a.same(b) => Some(a.clone()),
        (Dim::Known(_), Dim::Known(_)) => None,
        // A size that is open can only be 1 or that of the other.
        (known @ Dim::Known(_), _) | (_, known @ Dim::Known(_)) => Some(known.clone()),
        (Dim::Open(_) | Dim::Unknown, Dim::Open(_) | Dim::Unknown) => Some(Dim::Unknown),
    }
}

/// The shape to which all of `shapes` broadcast; none if they do not.
pub fn broadcast(shapes: &[&[Dim]]) -> Option<Vec<Dim>> {
    let rank = shapes.iter().map(|s| s.len()).max()?;
    let mut result = vec![Dim::Known(1.0); rank];
    for shape in shapes {
        for (to, dim) in result[rank - shape.len()..].iter_mut().zip(*shape) {
            *to = broadcast_dim(to, dim)?;
        }
    }
    Some(result)
}

/// `[N, 3, 32, 32]`.
pub fn show(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(", "))
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Self::Known(size as f64)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms = match self {
            Self::Known(x) => return write!(f, "{x}"),
            Self::Unknown => return f.write_str("?"),
            Self::Open(terms) => terms,
        };
        // The number alone comes last.
        for (i, (symbols, factor)) in terms.iter().rev().enumerate() {
            let sign = match (i, *factor < 0.0) {
                (0, false) => "",
                (0, true) => "-",
                (_, false) => " + ",
                (_, true) => " - ",
            };
            f.write_str(sign)?;
            let size = factor.abs();
            match (symbols.is_empty(), size == 1.0) {
                (true, _) => write!(f, "{size}")?,
                (false, true) => f.write_str(&symbols.join("*"))?,
                (false, false) => write!(f, "{size}*{}", symbols.join("*"))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n() -> Dim {
        Dim::symbol("N")
    }

    fn known(x: f64) -> Dim {
        Dim::Known(x)
    }

    #[test]
    fn polynomials_are_computed_with() {
        let (n, h) = (n(), Dim::symbol("H"));
        let sum = &(&n * &known(4.0)) + &known(3.0);
        assert_eq!(sum.to_string(), "4*N + 3");
        assert_eq!((&sum - &known(3.0)).to_string(), "4*N");
        assert_eq!(&(&sum - &sum), &known(0.0));
        assert_eq!((&n * &known(4.0)).times("N"), Some(4.0));
        assert_eq!([sum.times("N"), h.times("N"), (&n * &h).times("N"), known(4.0).times("N")], [None; 4]);
        assert_eq!((&(&n * &h) * &n).to_string(), "H*N*N");
        assert_eq!((&(&n + &h) * &(&n - &h)).to_string(), "N*N - H*H");
        assert_eq!(&Dim::Unknown * &known(0.0), known(0.0));
        assert!(!Dim::Unknown.same(&Dim::Unknown) && n.same(&Dim::symbol("N")));
    }

    #[test]
    fn quotients_are_exact_or_unknown() {
        let (n, h) = (n(), Dim::symbol("H"));
        let (four, six) = (known(4.0), known(6.0));
        assert_eq!((&(&n * &h) * &six).over(&(&n * &known(3.0))).to_string(), "2*H");
        assert_eq!(n.over(&h), Dim::Unknown);
        assert_eq!((&n * &six).over(&four), Dim::Unknown);
        let class_token = &h + &known(1.0);
        assert_eq!(
            quotient(&[n.clone(), class_token.clone(), six], &[class_token, known(2.0)]).to_string(),
            "3*N"
        );
    }

    #[test]
    fn floors_take_out_what_can_be_divided() {
        let odd = &(&n() * &known(4.0)) + &known(3.0);
        assert_eq!(odd.floor_div(2.0).to_string(), "2*N + 1");
        let half = (&n() - &known(1.0)).floor_div(2.0);
        assert_eq!(half.to_string(), "floor((N - 1)/2)");
        assert!(half.same(&(&n() - &known(1.0)).floor_div(2.0)));
        assert_eq!(known(7.0).ceil_div(2.0), known(4.0));
        assert_eq!((&n() * &known(1.5)).floor(), Dim::Unknown);
    }

    #[test]
    fn shapes_broadcast_as_far_as_they_are_known() {
        let shape = |dims: &[Dim]| dims.to_vec();
        let a = shape(&[n(), known(1.0), known(5.0)]);
        let b = shape(&[known(3.0), Dim::Unknown]);
        assert_eq!(show(&broadcast(&[&a, &b]).unwrap_or_default()), "[N, 3, 5]");
        let c = shape(&[known(4.0)]);
        assert_eq!(broadcast(&[&a, &c]), None);
        assert_eq!(broadcast_dim(&n(), &Dim::symbol("M")), Some(Dim::Unknown));
    }

    #[test]
    fn what_grows_without_end_is_given_up() {
        let mut power = n();
        for _ in 0..40 {
            power = &power * &power;
        }
        assert_eq!(power, Dim::Unknown);
        let mut nested = n();
        for _ in 0..100 {
            nested = &(&nested + &known(1.0)).floor_div(2.0) * &known(3.0);
        }
        assert_eq!(nested, Dim::Unknown);
    }
}
