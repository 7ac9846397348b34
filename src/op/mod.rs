//! What each ONNX operator means, once.
//!
//! [`meaning`] is the one dispatch over [`Operator`]: it gives an operator's row, which its own function in
//! the file of its family writes down. A row tells the types and shapes of the results ([`infer`], from
//! symbols as well as from numbers), how they are computed in float32 and float64 ([`evaluate`]), and how
//! many products that takes. A new operator is a name in [`Operator`], a line in [`meaning`], and a
//! function in its family.
//!
//! Versions: rules read attributes as well as the inputs that took their place in later versions, so that
//! a row holds for every opset; where the same node means something else, a rule asks [`Call::opset`].

mod activation;
mod arithmetic;
mod call;
mod comparison;
mod constant;
mod conv;
mod dim;
mod einsum;
mod index;
mod layout;
mod meaning;
mod norm;
mod pool;
mod product;
pub mod range;
mod real;
mod reduce;
mod resize;
mod select;
#[cfg(test)]
mod tests;
mod types;
mod versions;
mod window;

pub use call::{Call, Outcome, Stop, fail};
pub use dim::{Dim, Polynomial, broadcast, broadcast_dim, show};
pub use meaning::{Evaluate, Meaning, Symbolic, Typing};
pub use real::{Element, Real};
pub use resize::{sampling, scales_at};
pub use types::{Input, Shape, Type};
pub use versions::{highest_opset, version_at};

use crate::Result;
use crate::onnx::{DType, Operator};
use ndarray::ArrayD;
use types::{LARGEST_VALUE, span};

/// Results of more elements are not computed here.
const LARGEST_RESULT: usize = 1 << 28;

/// What an operator means.
pub fn meaning<T: Real>(operator: Operator) -> Meaning<T> {
    match operator {
        Operator::Abs => arithmetic::abs(),
        Operator::Add => arithmetic::add(),
        Operator::And => comparison::and(),
        Operator::ArgMax => reduce::arg_max(),
        Operator::ArgMin => reduce::arg_min(),
        Operator::AveragePool => pool::average_pool(),
        Operator::BatchNormalization => norm::batch_normalization(),
        Operator::Cast => arithmetic::cast(),
        Operator::Ceil => arithmetic::ceil(),
        Operator::Clip => activation::clip(),
        Operator::Concat => layout::concat(),
        Operator::Constant => constant::constant(),
        Operator::ConstantOfShape => constant::constant_of_shape(),
        Operator::Conv => conv::conv(),
        Operator::ConvTranspose => conv::conv_transpose(),
        Operator::Cos => arithmetic::cos(),
        Operator::CumSum => index::cum_sum(),
        Operator::DepthToSpace => layout::depth_to_space(),
        Operator::Div => arithmetic::div(),
        Operator::Dropout => activation::dropout(),
        Operator::Einsum => einsum::einsum(),
        Operator::Elu => activation::elu(),
        Operator::Equal => comparison::equal(),
        Operator::Erf => activation::erf(),
        Operator::Exp => arithmetic::exp(),
        Operator::Expand => layout::expand(),
        Operator::Flatten => layout::flatten(),
        Operator::Floor => arithmetic::floor(),
        Operator::Gather => select::gather(),
        Operator::GatherElements => index::gather_elements(),
        Operator::GatherNd => index::gather_nd(),
        Operator::Gelu => activation::gelu(),
        Operator::Gemm => product::gemm(),
        Operator::GlobalAveragePool => pool::global_average_pool(),
        Operator::GlobalMaxPool => pool::global_max_pool(),
        Operator::Greater => comparison::greater(),
        Operator::GreaterOrEqual => comparison::greater_or_equal(),
        Operator::GroupNormalization => norm::group_normalization(),
        Operator::HardSigmoid => activation::hard_sigmoid(),
        Operator::HardSwish => activation::hard_swish(),
        Operator::Identity => arithmetic::identity(),
        Operator::InstanceNormalization => norm::instance_normalization(),
        Operator::LayerNormalization => norm::layer_normalization(),
        Operator::LeakyRelu => activation::leaky_relu(),
        Operator::Less => comparison::less(),
        Operator::LessOrEqual => comparison::less_or_equal(),
        Operator::Log => arithmetic::log(),
        Operator::LogSoftmax => norm::log_softmax(),
        Operator::LpNormalization => norm::lp_normalization(),
        Operator::Lrn => norm::lrn(),
        Operator::MatMul => product::matmul(),
        Operator::Max => arithmetic::max(),
        Operator::MaxPool => pool::max_pool(),
        Operator::Mean => arithmetic::mean(),
        Operator::Min => arithmetic::min(),
        Operator::Mish => activation::mish(),
        Operator::Mod => arithmetic::modulo(),
        Operator::Mul => arithmetic::mul(),
        Operator::Neg => arithmetic::neg(),
        Operator::Not => comparison::not(),
        Operator::OneHot => select::one_hot(),
        Operator::Or => comparison::or(),
        Operator::PRelu => activation::p_relu(),
        Operator::Pad => layout::pad(),
        Operator::Pow => arithmetic::pow(),
        Operator::Range => constant::range(),
        Operator::Reciprocal => arithmetic::reciprocal(),
        Operator::ReduceL1 => reduce::l1(),
        Operator::ReduceL2 => reduce::l2(),
        Operator::ReduceLogSumExp => reduce::log_sum_exp(),
        Operator::ReduceMax => reduce::max(),
        Operator::ReduceMean => reduce::mean(),
        Operator::ReduceMin => reduce::min(),
        Operator::ReduceProd => reduce::prod(),
        Operator::ReduceSum => reduce::sum(),
        Operator::ReduceSumSquare => reduce::sum_square(),
        Operator::Relu => activation::relu(),
        Operator::Reshape => layout::reshape(),
        Operator::Resize => resize::resize(),
        Operator::Round => arithmetic::round(),
        Operator::ScatterNd => index::scatter_nd(),
        Operator::Selu => activation::selu(),
        Operator::Shape => constant::shape(),
        Operator::Sigmoid => activation::sigmoid(),
        Operator::Sign => arithmetic::sign(),
        Operator::Sin => arithmetic::sin(),
        Operator::Size => constant::size(),
        Operator::Slice => select::slice(),
        Operator::Softmax => norm::softmax(),
        Operator::Softplus => activation::softplus(),
        Operator::Softsign => activation::softsign(),
        Operator::SpaceToDepth => layout::space_to_depth(),
        Operator::Split => layout::split(),
        Operator::Sqrt => arithmetic::sqrt(),
        Operator::Squeeze => layout::squeeze(),
        Operator::Sub => arithmetic::sub(),
        Operator::Sum => arithmetic::sum(),
        Operator::Tanh => activation::tanh(),
        Operator::Tile => layout::tile(),
        Operator::TopK => index::top_k(),
        Operator::Transpose => layout::transpose(),
        Operator::Trilu => index::trilu(),
        Operator::Unsqueeze => layout::unsqueeze(),
        Operator::Where => comparison::where_(),
    }
}

/// The types of a node's results, as far as they are known.
///
/// # Errors
/// Inputs that do not fit the operator: the error names the node, its operator and the shapes.
pub fn infer(operator: Operator, call: &Call<Type>) -> Result<Vec<Type>> {
    let meaning = meaning::<f64>(operator);
    let shapes = match shapes(&meaning, call) {
        Ok(shapes) => shapes,
        Err(Stop::Unknown) => Vec::new(),
        Err(Stop::Fault(error)) => return Err(error),
    };
    let mut types = Vec::with_capacity(call.node.output.len());
    for result in 0..call.node.output.len() {
        let (dtype, shape) = (dtype(&meaning, call, result)?, shapes.get(result).cloned());
        types.push(Type { dtype, shape, value: None });
    }
    if let Some(first) = types.first_mut()
        && let Some(sizes) = first.sizes().filter(|sizes| span(sizes) <= LARGEST_VALUE)
    {
        first.value = value(&meaning, call, &sizes);
    }
    Ok(types)
}

/// The results of a node.
///
/// # Errors
/// As [`infer`]; a form of the operator that is not evaluated here; a result too large to hold.
pub fn evaluate<T: Real>(operator: Operator, call: &Call<ArrayD<T>>) -> Result<Vec<ArrayD<T>>> {
    answered(call, results(&meaning(operator), call))
}

/// How many products of numbers the node adds up, given the type of its first result; none where sizes are
/// not known.
pub fn products(operator: Operator, call: &Call<Type>, result: &Type) -> Option<Dim> {
    match meaning::<f64>(operator).products {
        Some(rule) => rule(call, result.shape.as_deref()?).ok(),
        None => Some(Dim::Known(0.0)),
    }
}

fn answered<I, R>(call: &Call<I>, outcome: Outcome<R>) -> Result<R> {
    outcome.map_err(|stop| match stop {
        Stop::Fault(error) => error,
        Stop::Unknown => fail(call.node, "its result depends on what is not known here"),
    })
}

fn results<T: Real>(meaning: &Meaning<T>, call: &Call<ArrayD<T>>) -> Outcome<Vec<ArrayD<T>>> {
    let typed = |(i, input): (usize, &Option<&ArrayD<T>>)| {
        let input = (*input)?;
        let list = || input.mapv(|x| x.number().map_or(Dim::Unknown, Dim::Known));
        let value = meaning.settings.contains(&i).then(list);
        Some(Type { value, ..Type::of(None, input.shape()) })
    };
    let types: Vec<Option<Type>> = call.inputs.iter().enumerate().map(typed).collect();
    let types: Vec<Option<&Type>> = types.iter().map(Option::as_ref).collect();
    let told = Call { node: call.node, opset: call.opset, integers: call.integers, inputs: &types };
    let shapes = shapes(meaning, &told)?;
    let sizes = shapes.iter().map(|shape| shape.iter().map(Dim::size).collect::<Option<Vec<_>>>());
    let sizes = sizes.collect::<Option<Vec<_>>>().ok_or(Stop::Unknown)?;
    let first = sizes.first().ok_or(Stop::Unknown)?;
    if span(first) > LARGEST_RESULT {
        return Err(call.fail(format!("its result {first:?} is too large to be computed here")));
    }
    let results = match meaning.evaluate {
        Evaluate::One(f) => vec![f(call, first)?],
        Evaluate::Several(f) => f(call, &sizes)?,
    };
    match call.node.output.iter().skip(results.len()).find(|name| !name.is_empty()) {
        Some(name) => Err(call.fail(format!("its result {name} is not evaluated here"))),
        None => Ok(results),
    }
}

/// The shapes, of which no size is negative or broken.
fn shapes<T>(meaning: &Meaning<T>, call: &Call<Type>) -> Outcome<Vec<Shape>> {
    let shapes = (meaning.shape)(call)?;
    match shapes.iter().find(|shape| shape.iter().any(|d| d.number().is_some() && d.size().is_none())) {
        Some(shape) => Err(call.fail(format!("its result would have the shape {}", show(shape)))),
        None => Ok(shapes),
    }
}

fn dtype<T>(meaning: &Meaning<T>, call: &Call<Type>, result: usize) -> Result<Option<DType>> {
    let of = |i: usize| call.given(i).and_then(|input| input.dtype);
    Ok(match meaning.typing {
        Typing::As(i) => of(i),
        Typing::Always(dtype) => Some(dtype),
        Typing::By(rule) => rule(call, result),
        Typing::Alike => {
            let mut known = (0..call.inputs.len()).filter_map(of);
            let first = known.next();
            if let (Some(first), Some(other)) = (first, known.find(|dtype| Some(*dtype) != first)) {
                let why = format!("element types {} and {} differ", first.name(), other.name());
                return Err(fail(call.node, why));
            }
            first
        }
    })
}

/// The elements of a small result, as far as they are known before the model runs.
fn value(meaning: &Meaning<f64>, call: &Call<Type>, sizes: &[usize]) -> Option<ArrayD<Dim>> {
    if let Symbolic::Types(rule) = meaning.symbolic {
        return rule(call).ok();
    }
    let given = call.inputs.iter().map(|input| match input {
        Some(input) => Some(Some(input.elements()?)),
        None => Some(None),
    });
    let elements: Vec<Option<ArrayD<Dim>>> = given.collect::<Option<_>>()?;
    let (node, opset, integers) = (call.node, call.opset, call.integers);
    let known = |e: &ArrayD<Dim>| {
        let numbers: Option<Vec<f64>> = e.iter().map(Dim::number).collect();
        ArrayD::from_shape_vec(e.raw_dim(), numbers?).ok()
    };
    let numbers: Option<Vec<Option<ArrayD<f64>>>> =
        elements.iter().map(|e| e.as_ref().map(known).map_or(Some(None), |n| n.map(Some))).collect();
    match (numbers, meaning.symbolic) {
        (Some(numbers), _) => {
            let inputs: Vec<_> = numbers.iter().map(Option::as_ref).collect();
            let results = results(meaning, &Call { node, opset, integers, inputs: &inputs }).ok()?;
            Some(results.first()?.mapv(Dim::Known))
        }
        (None, Symbolic::Elements(rule)) => {
            let inputs: Vec<_> = elements.iter().map(Option::as_ref).collect();
            rule(&Call { node, opset, integers, inputs: &inputs }, sizes).ok()
        }
        (None, Symbolic::Not | Symbolic::Types(_)) => None,
    }
}
