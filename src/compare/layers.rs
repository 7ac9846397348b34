//! Where a difference begins: every node on both runtimes.
//!
//! Each node is looked at in two ways. *Isolated*: it runs alone, on inputs reset to the reference,
//! so what differs was **introduced** there. *Cumulative*: it runs inside the whole graph, so the
//! difference also holds what was **inherited**: the change of its exact result that comes from the
//! errors of its inputs. The reference is the graph in float64; where it does not know an operator,
//! runtime A's own values take its place and no runtime can be called nearer to the truth.

use super::cut::Wiring;
use super::values::Tolerance;
use crate::onnx::{ModelProto, Tensor};
use crate::runtime::{Engine, Named};
use crate::walk::interpreter;
use crate::{Error, Result};
use ndarray::{ArrayD, Zip};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::HashMap;

/// Largest absolute differences of a node's results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Gaps {
    /// A's result against the truth; none without a reference.
    pub a: Option<f64>,
    /// B's.
    pub b: Option<f64>,
    /// A's result against B's.
    pub between: f64,
}

/// Which runtime's value is nearer to the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nearer {
    /// The first.
    A,
    /// The second.
    B,
    /// Both alike.
    Neither,
}

/// A node on both runtimes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeGaps {
    /// The node's name, or its operator and place.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The shape of its first result.
    pub shape: Vec<usize>,
    /// Greatest magnitude of its results.
    pub scale: f64,
    /// What the node itself adds, on inputs reset to the reference.
    pub introduced: Gaps,
    /// What the errors of its inputs become in an exact node; none without a reference.
    pub inherited: Option<Gaps>,
    /// What stands at its results when the whole graph runs.
    pub cumulative: Gaps,
    /// Whose value in the whole graph is nearer to the reference.
    pub nearer: Option<Nearer>,
    /// NaNs and infinities in A's and in B's results.
    pub non_finite: [usize; 2],
    /// Why the node could not run alone, where it could not.
    pub failed: Option<String>,
}

/// What showing the inner tensors does to the final output of one runtime.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tapping {
    /// The runtime.
    pub runtime: String,
    /// Whether the outputs with and without taps are equal in every bit.
    pub bit_equal: bool,
    /// Their largest absolute difference.
    pub max_abs: f64,
}

/// All nodes on both runtimes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layerwise {
    /// Why there is no float64 reference, where there is none.
    pub no_reference: Option<String>,
    /// The nodes that depend on the input, in order.
    pub layers: Vec<NodeGaps>,
    /// The first node that introduces more than the tolerance (with |b| = its scale), by place.
    pub suspect: Option<usize>,
    /// The node that introduces most, relative to its scale, by place.
    pub largest: Option<usize>,
    /// The first node with a NaN or an infinity, by place.
    pub first_non_finite: Option<usize>,
    /// The final output with and without taps, on A and on B.
    pub tapping: Vec<Tapping>,
    /// Whose final output is nearer to the reference.
    pub nearer: Option<Nearer>,
}

type Tapped = HashMap<String, Tensor>;

/// Runs every node of `models` (the second may be another version of the first) on `a` and `b`.
///
/// # Errors
/// Where a runtime cannot run the whole graph, or the models' nodes cannot be matched.
pub fn analyse(
    (a, b): (&mut dyn Engine, &mut dyn Engine),
    models: [&ModelProto; 2],
    inputs: &[(String, Tensor)],
    tolerance: Tolerance,
) -> Result<Layerwise> {
    let wiring = [Wiring::new(models[0])?, Wiring::new(models[1])?];
    let pairs = pair_nodes(&wiring)?;
    let taps = [tap(a, &wiring[0], inputs)?, tap(b, &wiring[1], inputs)?];
    let given = inputs.iter().map(|(name, value)| (name.clone(), value.to_f64())).collect();
    let (truth, no_reference) = match interpreter::trace(models[0], given) {
        Ok(values) => (Some(values), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let study =
        Study { wiring: &wiring, taps: [&taps[0].values, &taps[1].values], inputs, truth: truth.as_ref() };
    let mut trials = Vec::with_capacity(pairs.len());
    for &pair in &pairs {
        trials.push(study.try_alone(a, b, pair));
    }
    let layers: Vec<NodeGaps> = trials.into_par_iter().map(|trial| study.layer(trial)).collect();
    let introduces = |l: &NodeGaps| l.introduced.between > tolerance.atol + tolerance.rtol * l.scale;
    Ok(Layerwise {
        no_reference,
        suspect: layers.iter().position(introduces),
        largest: largest(&layers),
        first_non_finite: layers.iter().position(|l| l.non_finite != [0, 0]),
        nearer: layers.last().and_then(|l| l.nearer),
        layers,
        tapping: vec![taps[0].tapping(a.name()), taps[1].tapping(b.name())],
    })
}

fn largest(layers: &[NodeGaps]) -> Option<usize> {
    let share =
        |l: &NodeGaps| if l.scale > 0.0 { l.introduced.between / l.scale } else { l.introduced.between };
    let places = (0..layers.len()).filter(|&i| layers[i].introduced.between > 0.0);
    places.max_by(|&x, &y| share(&layers[x]).total_cmp(&share(&layers[y])))
}

/// Nodes of the first model with their counterparts: by place where both models have the same
/// operators in the same order, else by the name of the first result.
fn pair_nodes(wiring: &[Wiring<'_>; 2]) -> Result<Vec<(usize, usize)>> {
    let nodes = [wiring[0].dynamic_nodes(), wiring[1].dynamic_nodes()];
    let ops = |side: usize| nodes[side].iter().map(move |&n| wiring[side].node(n).op_type.as_deref());
    if ops(0).eq(ops(1)) {
        return Ok(nodes[0].iter().copied().zip(nodes[1].iter().copied()).collect());
    }
    let counterpart = |&n: &usize| Some((n, wiring[1].producer(wiring[0].data_outputs(n).first()?)?));
    let pairs: Vec<_> = nodes[0].iter().filter_map(counterpart).collect();
    if pairs.is_empty() {
        return Err(Error::invalid(
            "the two models",
            "have no node in common; compare versions of one model",
        ));
    }
    Ok(pairs)
}

/// A whole run with every inner tensor shown, and one without.
struct Taps {
    values: Tapped,
    shown: Vec<Tensor>,
    plain: Vec<Tensor>,
}

fn tap(engine: &mut dyn Engine, wiring: &Wiring<'_>, inputs: &[(String, Tensor)]) -> Result<Taps> {
    let outputs = wiring.outputs();
    let plain = engine.run(&wiring.extract(inputs, &outputs)?, inputs)?;
    let mut names = outputs.clone();
    for node in wiring.dynamic_nodes() {
        names.extend(wiring.data_outputs(node).into_iter().filter(|n| !outputs.contains(n)));
    }
    let results = engine.run(&wiring.extract(inputs, &names)?, inputs)?;
    let shown = results.iter().take(outputs.len()).cloned().collect();
    let values = names.into_iter().map(String::from).zip(results).collect();
    Ok(Taps { values, shown, plain })
}

impl Taps {
    fn tapping(&self, runtime: &str) -> Tapping {
        let pairs = || self.shown.iter().zip(&self.plain);
        Tapping {
            runtime: runtime.into(),
            bit_equal: pairs().all(|(s, p)| s.to_bytes() == p.to_bytes()),
            max_abs: pairs().map(|(s, p)| max_gap(&s.to_f64(), &p.to_f64())).fold(0.0, f64::max),
        }
    }
}

struct Study<'a> {
    wiring: &'a [Wiring<'a>; 2],
    taps: [&'a Tapped; 2],
    inputs: &'a [(String, Tensor)],
    truth: Option<&'a interpreter::Values>,
}

/// A node that ran alone on both runtimes.
struct Trial {
    pair: (usize, usize),
    results: Result<Alone>,
}

struct Alone {
    model: ModelProto,
    /// What it ran on, with the names of the first model.
    inputs: Named,
    a: Vec<Tensor>,
    b: Vec<Tensor>,
}

impl Study<'_> {
    fn try_alone(&self, a: &mut dyn Engine, b: &mut dyn Engine, pair: (usize, usize)) -> Trial {
        Trial { pair, results: self.alone(a, b, pair) }
    }

    fn alone(&self, a: &mut dyn Engine, b: &mut dyn Engine, (n, m): (usize, usize)) -> Result<Alone> {
        let names = [self.wiring[0].data_inputs(n), self.wiring[1].data_inputs(m)];
        if names[0].len() != names[1].len() {
            let why =
                format!("takes {} tensors in one model and {} in the other", names[0].len(), names[1].len());
            return Err(Error::invalid(self.wiring[0].label(n), why));
        }
        let inputs = names[0]
            .iter()
            .map(|name| Ok((String::from(*name), self.reset(name)?)))
            .collect::<Result<Named>>()?;
        let renamed: Named =
            names[1].iter().zip(&inputs).map(|(name, (_, v))| (String::from(*name), v.clone())).collect();
        let model = self.wiring[0].extract(&inputs, &self.wiring[0].data_outputs(n))?;
        let other = self.wiring[1].extract(&renamed, &self.wiring[1].data_outputs(m))?;
        Ok(Alone { a: a.run(&model, &inputs)?, b: b.run(&other, &renamed)?, model, inputs })
    }

    /// A tensor's reference value, rounded to its type.
    fn reset(&self, name: &str) -> Result<Tensor> {
        let own = self.value(0, name)?;
        Ok(match self.truth.and_then(|t| t.get(name)) {
            Some(truth) => Tensor::from_f64(truth, own.dtype()),
            None => own.clone(),
        })
    }

    /// A tensor as it stood in a whole run.
    fn value(&self, side: usize, name: &str) -> Result<&Tensor> {
        let given = self.inputs.iter().find(|(n, _)| n == name).map(|(_, v)| v);
        given.or_else(|| self.taps[side].get(name)).ok_or_else(|| Error::invalid(name, "was not computed"))
    }

    fn layer(&self, Trial { pair, results }: Trial) -> NodeGaps {
        let wiring = &self.wiring[0];
        let outputs = [wiring.data_outputs(pair.0), self.wiring[1].data_outputs(pair.1)];
        let tapped = |side: usize| -> Vec<ArrayD<f64>> {
            outputs[side].iter().filter_map(|name| self.taps[side].get(*name)).map(Tensor::to_f64).collect()
        };
        let broken = |side: usize| {
            outputs[side].iter().filter_map(|n| self.taps[side].get(*n)).map(Tensor::non_finite).sum()
        };
        let truth = self
            .truth
            .map(|t| outputs[0].iter().filter_map(|name| t.get(*name).cloned()).collect::<Vec<_>>());
        let (a, b) = (tapped(0), tapped(1));
        let cumulative = gaps(&a, &b, truth.as_deref());
        let (introduced, inherited, failed) = match results {
            Ok(alone) => self.parts(pair, &alone),
            Err(error) => (Gaps::default(), None, Some(chain(&error))),
        };
        let scaled = truth.as_ref().unwrap_or(&a);
        NodeGaps {
            node: wiring.label(pair.0),
            op: wiring.node(pair.0).op_type.clone().unwrap_or_default(),
            shape: a.first().map(|x| x.shape().to_vec()).unwrap_or_default(),
            scale: scaled.iter().flatten().map(|x| x.abs()).filter(|x| x.is_finite()).fold(0.0, f64::max),
            introduced,
            inherited,
            nearer: nearer(&cumulative),
            cumulative,
            non_finite: [broken(0), broken(1)],
            failed,
        }
    }

    /// What a node introduced, and what it inherited.
    fn parts(&self, pair: (usize, usize), alone: &Alone) -> (Gaps, Option<Gaps>, Option<String>) {
        let results =
            |tensors: &[Tensor]| -> Vec<ArrayD<f64>> { tensors.iter().map(Tensor::to_f64).collect() };
        let (a, b) = (results(&alone.a), results(&alone.b));
        if self.truth.is_none() {
            return (gaps(&a, &b, None), None, None);
        }
        let exact = |values: Vec<ArrayD<f64>>| -> Result<Vec<ArrayD<f64>>> {
            let named = alone.inputs.iter().map(|(name, _)| name.clone()).zip(values).collect();
            let mut results = interpreter::run(&alone.model, named)?;
            Ok(self.wiring[0].data_outputs(pair.0).iter().filter_map(|name| results.remove(*name)).collect())
        };
        let own = |side: usize, node: usize| -> Result<Vec<ArrayD<f64>>> {
            let names = self.wiring[side].data_inputs(node);
            exact(names.iter().map(|n| Ok(self.value(side, n)?.to_f64())).collect::<Result<_>>()?)
        };
        let reset = alone.inputs.iter().map(|(_, v)| v.to_f64()).collect();
        match (exact(reset), own(0, pair.0), own(1, pair.1)) {
            (Ok(truth), Ok(from_a), Ok(from_b)) => {
                (gaps(&a, &b, Some(&truth)), Some(gaps(&from_a, &from_b, Some(&truth))), None)
            }
            (Err(e), _, _) | (_, Err(e), _) | (_, _, Err(e)) => (gaps(&a, &b, None), None, Some(chain(&e))),
        }
    }
}

/// An error with its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

fn gaps(a: &[ArrayD<f64>], b: &[ArrayD<f64>], truth: Option<&[ArrayD<f64>]>) -> Gaps {
    let most = |x: &[ArrayD<f64>], y: &[ArrayD<f64>]| {
        x.iter().zip(y).map(|(x, y)| max_gap(x, y)).fold(0.0, f64::max)
    };
    Gaps { a: truth.map(|t| most(a, t)), b: truth.map(|t| most(b, t)), between: most(a, b) }
}

fn nearer(gaps: &Gaps) -> Option<Nearer> {
    let (a, b) = (gaps.a?, gaps.b?);
    Some(match a.total_cmp(&b) {
        std::cmp::Ordering::Less => Nearer::A,
        std::cmp::Ordering::Greater => Nearer::B,
        std::cmp::Ordering::Equal => Nearer::Neither,
    })
}

/// The largest |a − b|; infinite where only one is NaN or the shapes differ.
pub fn max_gap(a: &ArrayD<f64>, b: &ArrayD<f64>) -> f64 {
    if a.shape() != b.shape() {
        return f64::INFINITY;
    }
    let mut most = 0.0f64;
    Zip::from(a).and(b).for_each(|&x, &y| {
        let gap = match (x.is_nan(), y.is_nan()) {
            (true, true) => 0.0,
            (false, false) if x == y => 0.0,
            (false, false) => (x - y).abs(),
            _ => f64::INFINITY,
        };
        most = most.max(gap);
    });
    most
}

#[cfg(test)]
#[path = "layers_tests.rs"]
#[allow(missing_docs)]
pub mod tests;
