//! A learned map of embeddings, folded into a tower's graph: a float tower ends in one more product and unit
//! length, an exact one in one more product of integers, rescaled and rounded as its layers are.

use super::quantise::{Incoming, Quantised, Row, finest};
use crate::exactness::ACTIVATION_MAX;
use crate::graph::{DType, Expr, Graph, OPSET, Tensor};
use crate::model::unit_length;
use crate::onnx::{GraphProto, ModelProto};
use crate::tower::{Distance, OUTPUT, Provenance, TowerKind, TowerSpec, prove};
use crate::{Error, Result};
use ndarray::{Array1, Array2, ArrayD, ArrayView2, Axis, IxDyn};

/// The lowest opset in which the nodes that are added mean what they mean in ours.
const LOWEST_OPSET: i64 = 13;
/// What the values and weights that are added are called first.
const NAME: &str = "projection";

/// An affine map of embeddings, or of the roots of their numbers: `x ↦ M·(x − mean)`.
///
/// What goes in are the embeddings as [`Projection::seen`] shows them; distances of what comes out are cosines
/// where the tower's are, else Euclidean ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// Whether the square root of each number is taken first (of float towers, and of numbers that are never below 0:
    /// those behind a rectifier; Perronnin, Sánchez, Mensink 2010, "Improving the Fisher Kernel", section 3.2).
    pub root: bool,
    /// `[D]`.
    pub mean: Array1<f32>,
    /// M, `[E, D]`.
    pub matrix: Array2<f32>,
}

impl Projection {
    /// Embeddings `[N, D]` of a tower as a projection takes them: rows of unit length where distances are
    /// cosines of float towers, else as they are; with `root` of the numbers' square roots.
    pub fn seen(tower: &TowerSpec, embeddings: ArrayView2<'_, f32>, root: bool) -> Array2<f32> {
        let mut rows = embeddings.to_owned();
        if root {
            rows.mapv_inplace(|x| x.max(0.0).sqrt());
        }
        if unit(tower) {
            for mut row in rows.outer_iter_mut() {
                let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                row /= length.max(f64::from(f32::MIN_POSITIVE)) as f32;
            }
        }
        rows
    }

    /// The map of rows `[N, D]`: `[N, E]`.
    pub fn apply(&self, rows: ArrayView2<'_, f32>) -> Array2<f32> {
        (&rows - &self.mean).dot(&self.matrix.t())
    }

    /// The distance of what comes out.
    pub fn distance(tower: &TowerSpec) -> Distance {
        if tower.distance == Distance::Cosine { Distance::Cosine } else { Distance::L2 }
    }

    /// `−M·mean`, `[E]`.
    fn bias(&self) -> Array1<f32> {
        self.matrix.mapv(f64::from).dot(&self.mean.mapv(f64::from)).mapv(|x| -x as f32)
    }
}

fn unit(tower: &TowerSpec) -> bool {
    tower.kind == TowerKind::Float && tower.distance == Distance::Cosine
}

/// The tower with the projection behind it. `largest` is the greatest magnitude of a projected number, which
/// an exact tower maps to its greatest integer.
///
/// # Errors
/// A tower of an opset in which the new nodes mean something else; a projection that does not fit; numbers that
/// have no exact form.
pub fn project(
    model: &ModelProto,
    tower: &TowerSpec,
    projection: &Projection,
    largest: f64,
) -> Result<ModelProto> {
    check(model, tower, projection)?;
    let g = Graph::new(NAME);
    let plain = plain_name(model);
    let x = g.input(&plain, DType::F32, &[1, tower.dim]);
    let y = match tower.kind {
        TowerKind::Float => float(&g, x, tower, projection)?,
        TowerKind::Exact => exact(&g, x, projection, largest)?,
    };
    g.output(OUTPUT, y);
    let mut projected = model.clone();
    append(&mut projected, g.to_model_batched("N")?, &plain);
    let spec = TowerSpec {
        dim: projection.matrix.nrows(),
        distance: Projection::distance(tower),
        // Its embeddings are no longer those of the tower that it is made of.
        compatible_with: None,
        sha256: String::new(),
        ..tower.clone()
    };
    spec.write_metadata(&mut projected)?;
    let mut told = Provenance::read(model)?;
    // What was measured was the tower before.
    told.accuracy.clear();
    if tower.kind == TowerKind::Exact {
        told.bounds = prove(&projected)?;
    }
    told.write(&mut projected)?;
    Ok(projected)
}

fn check(model: &ModelProto, tower: &TowerSpec, projection: &Projection) -> Result<()> {
    let opset = model.opset().unwrap_or(1);
    if !(LOWEST_OPSET..).contains(&opset) {
        let why = format!(
            "uses opset {opset}; a projection needs {LOWEST_OPSET} or later: export the model again with opset {OPSET}"
        );
        return Err(Error::invalid(format!("the tower {}", tower.name), why));
    }
    let (mean, columns) = (projection.mean.len(), projection.matrix.ncols());
    if (mean, columns) != (tower.dim, tower.dim) {
        let why = format!("takes {columns} numbers less {mean} means; the tower gives {}", tower.dim);
        return Err(Error::invalid("the projection", why));
    }
    if projection.root && tower.kind == TowerKind::Exact {
        return Err(Error::invalid("the projection", "takes roots, which have no exact form"));
    }
    if projection.matrix.iter().chain(&projection.mean).any(|x| !x.is_finite()) {
        return Err(Error::invalid("the projection", "holds a number that is not finite"));
    }
    Ok(())
}

fn float<'g>(g: &'g Graph, x: Expr<'g>, tower: &TowerSpec, projection: &Projection) -> Result<Expr<'g>> {
    let matrix = g.initializer("projection.weight", Tensor::F32(projection.matrix.clone().into_dyn()));
    let bias = g.initializer("projection.bias", Tensor::F32(projection.bias().into_dyn()));
    let y = g.within(NAME, || {
        let x = if projection.root { x.relu().sqrt() } else { x };
        if unit(tower) { unit_length(x) } else { x }.linear(matrix, Some(bias))
    });
    Ok(if unit(tower) { g.within(NAME, || unit_length(y)) } else { y })
}

/// `Gemm` of integers → `Mul` by powers of two → `Floor` → `Clip`.
fn exact<'g>(g: &'g Graph, x: Expr<'g>, projection: &Projection, largest: f64) -> Result<Expr<'g>> {
    let out = (largest.max(f64::MIN_POSITIVE) / ACTIVATION_MAX).log2().ceil() as i32;
    let half = 2f64.powi(out - 1);
    let incoming = Incoming { unit: 1.0, max: ACTIVATION_MAX, step: 0 };
    let matrix = projection.matrix.as_standard_layout();
    let rows = matrix.axis_iter(Axis(0)).zip(projection.bias());
    let rounded = |(weights, bias): (ndarray::ArrayView1<'_, f32>, f32)| {
        let row = Row { weights: weights.to_slice().unwrap_or(&[]), bias: f64::from(bias), half, means: &[] };
        finest(&row, incoming)
    };
    let rows = rows.map(rounded).collect::<Result<Vec<Quantised>>>()?;
    let weights = rows.iter().flat_map(|q| q.weights.iter().copied()).collect();
    let shape = IxDyn(projection.matrix.shape());
    let weights = ArrayD::from_shape_vec(shape, weights)
        .map_err(|e| Error::invalid_because("the projection", "changed its shape", e))?;
    let vector = |name: &str, values: Vec<f32>| {
        g.initializer(&format!("{NAME}.{name}"), Tensor::F32(Array1::from(values).into_dyn()))
    };
    let bias = vector("bias", rows.iter().map(|q| q.bias as f32).collect());
    let scale = vector("scale", rows.iter().map(|q| 2f32.powi(q.exponent - out)).collect());
    let weights = g.initializer(&format!("{NAME}.weight"), Tensor::I8(weights));
    let greatest = ACTIVATION_MAX as f32;
    Ok(g.within(NAME, || {
        let sum = x.linear(weights.cast(DType::F32), Some(bias));
        (sum * scale).floor().clip(-greatest, greatest)
    }))
}

/// What the tower's output is called once another one follows: a name that nothing has.
fn plain_name(model: &ModelProto) -> String {
    let taken = |name: &str| {
        let graph = model.graph.iter();
        graph.flat_map(|g| &g.node).flat_map(|n| &n.output).any(|output| output.starts_with(name))
    };
    let mut name = format!("{OUTPUT}.plain");
    while taken(&name) {
        name += "'";
    }
    name
}

/// Puts the nodes of `tail` behind the tower's, whose output becomes their input `plain`.
fn append(model: &mut ModelProto, tail: ModelProto, plain: &str) {
    let (Some(graph), Some(mut tail)) = (model.graph.as_mut(), tail.graph) else { return };
    // A tower may be projected twice: names of the second time differ.
    let suffix = plain.strip_prefix(&format!("{OUTPUT}.plain")).unwrap_or_default().to_string();
    make_own(&mut tail, plain, &suffix);
    for node in &mut graph.node {
        for name in node.input.iter_mut().chain(&mut node.output).filter(|name| *name == OUTPUT) {
            *name = plain.into();
        }
    }
    graph.node.append(&mut tail.node);
    graph.initializer.append(&mut tail.initializer);
    graph.output = tail.output;
}

/// Gives all names of a graph but its input's and output's the projection's own.
fn make_own(graph: &mut GraphProto, input: &str, suffix: &str) {
    let own = |name: &mut String| {
        if !name.is_empty() && name != input && name != OUTPUT {
            let prefix = if name.starts_with(NAME) { "" } else { "projection/" };
            *name = format!("{prefix}{name}{suffix}");
        }
    };
    graph.initializer.iter_mut().filter_map(|t| t.name.as_mut()).for_each(own);
    for node in &mut graph.node {
        node.input.iter_mut().chain(&mut node.output).chain(&mut node.name).for_each(own);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tower::{INPUT, SHIPPED, Shipped};
    use crate::walk::Interpreter;
    use ndarray::ArrayD;
    use prost::Message;
    use std::collections::BTreeMap;

    fn read(tower: &Shipped) -> (TowerSpec, ModelProto) {
        TowerSpec::from_bytes(tower.bytes, tower.name).unwrap()
    }

    fn picture(tower: &TowerSpec) -> ArrayD<f32> {
        let (channels, side) = (tower.preprocessing.channels(), tower.preprocessing.size());
        ArrayD::from_shape_fn(IxDyn(&[1, channels, side, side]), |i| {
            f32::from(u8::from(i[2] / 3 == 4 || i[3] == 9)) * 255.0
        })
    }

    fn embedded(tower: &TowerSpec, model: &ModelProto) -> Array2<f32> {
        let inputs = BTreeMap::from([(INPUT.to_string(), picture(tower))]);
        let row = Interpreter::<f32>::new(model).unwrap().run(inputs).unwrap().remove(OUTPUT).unwrap();
        row.into_dimensionality().unwrap()
    }

    /// To half of the numbers, each the mean of two.
    fn halving(dim: usize) -> Projection {
        let matrix = Array2::from_shape_fn((dim / 2, dim), |(i, j)| if j / 2 == i { 0.5 } else { 0.01 });
        Projection { root: false, mean: Array1::from_shape_fn(dim, |j| 0.01 * (j % 3) as f32), matrix }
    }

    #[test]
    fn the_graph_computes_what_the_map_says() {
        let both = SHIPPED.iter().flat_map(|tower| [(tower, false), (tower, true)]);
        for (tower, root) in both {
            let (spec, model) = read(tower);
            let map = Projection { root, ..halving(spec.dim) };
            if root && spec.kind == TowerKind::Exact {
                let said = project(&model, &spec, &map, 1.0).unwrap_err().to_string();
                assert!(said.contains("no exact form"), "{said}");
                continue;
            }
            let plain = Projection::seen(&spec, embedded(&spec, &model).view(), root);
            let wanted = map.apply(plain.view());
            let largest = wanted.iter().fold(0.0, |m: f64, x| m.max(f64::from(x.abs())));
            let projected = project(&model, &spec, &map, largest).unwrap();
            let (found, _) = TowerSpec::from_bytes(&projected.encode_to_vec(), "projected").unwrap();
            assert_eq!(
                (found.dim, found.kind, &found.distance),
                (spec.dim / 2, spec.kind, &Distance::Cosine)
            );
            let distance = Distance::Cosine;
            let apart = distance.between(
                &embedded(&spec, &projected).into_iter().collect::<Vec<_>>(),
                &wanted.into_iter().collect::<Vec<_>>(),
            );
            // An exact tower rounds to 7 bits and a sign.
            let limit = if spec.kind == TowerKind::Exact { 1e-3 } else { 1e-6 };
            assert!(apart < limit, "{}: {apart}", tower.name);
        }
    }

    #[test]
    fn a_projected_tower_is_projected_again() {
        let (spec, model) = read(&SHIPPED[0]);
        let once = project(&model, &spec, &halving(128), 100.0).unwrap();
        let (spec, once) = TowerSpec::from_bytes(&once.encode_to_vec(), "once").unwrap();
        let twice = project(&once, &spec, &halving(64), 100.0).unwrap();
        assert_eq!(TowerSpec::from_bytes(&twice.encode_to_vec(), "twice").unwrap().0.dim, 32);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (spec, model) = read(&SHIPPED[0]);
        let refused = |map: &Projection| project(&model, &spec, map, 1.0).unwrap_err().to_string();
        assert!(refused(&halving(64)).contains("gives 128"));
        let mut broken = halving(128);
        broken.matrix[[0, 0]] = f32::NAN;
        assert!(refused(&broken).contains("not finite"));
    }
}
