//! Towers made of any ONNX file: the imported graph becomes ours, and its float weights our parameters.
//!
//! A [`Backbone`] is a tower's file that was read and understood: which of its constants are weights (`weights`),
//! and what its nodes are in operators that have a derivative (`lower`, a rule an operator). What is exported is
//! the file itself with other weights in it, so that nothing of it changes but what was learned.

mod elementwise;
mod layout;
mod lower;
mod node;
mod norms;
mod pools;
mod products;
mod settings;
#[cfg(test)]
mod tests;
mod weights;
#[cfg(test)]
mod whole_tests;

pub use settings::{BatchNorm, OnnxTower};

use super::forward::{Forward, Mode};
use super::load::nearest;
use super::params::{Params, shaped};
use super::specs::ParamSpec;
use crate::graph::{Channels, Expr};
use crate::image::Preprocessing;
use crate::onnx::{DType, ModelProto, Operator, Tensor, TensorProto, numbers};
use crate::{Error, Result};
use ndarray::ArrayD;
use std::collections::{BTreeMap, HashMap};
use weights::Weight;

/// A tower's file as something that learns.
pub struct Backbone {
    /// The file.
    bytes: Vec<u8>,
    /// Its model, the weights that nodes hold among the others.
    model: ModelProto,
    facts: Facts,
    /// In the order in which the graph uses them.
    weights: Vec<Weight>,
    /// The products with weights, all in all.
    products: usize,
}

/// What is known of a tower beside its graph.
#[derive(Clone, Debug)]
pub struct Facts {
    /// How pictures become its input.
    pub preprocessing: Preprocessing,
    /// D of its output `[N, D]`.
    pub dim: usize,
    /// SHA-256 of its file.
    pub sha256: String,
    /// What the user should know of how it was read.
    pub notes: Vec<String>,
}

impl std::fmt::Debug for Backbone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a model of {} weights, SHA-256 {}", self.weights.len(), self.facts.sha256)
    }
}

impl Backbone {
    /// Of a tower: `image: uint8 [N, C, S, S]` → `embedding: float32 [N, D]`; `bytes` are its file.
    ///
    /// # Errors
    /// A model of integers, of half precision or with control flow, or with other operators that have no
    /// derivative, all of which are named; one that has no float weights.
    pub fn new(bytes: Vec<u8>, mut model: ModelProto, facts: Facts) -> Result<Self> {
        let empty = || Error::invalid("the model", "holds no graph");
        let graph = model.graph.as_mut().ok_or_else(empty)?;
        let held = std::mem::take(&mut graph.node).into_iter().filter_map(|node| match constant(&node) {
            Some(tensor) => {
                graph.initializer.push(tensor);
                None
            }
            None => Some(node),
        });
        graph.node = held.collect();
        let (weights, products) = weights::of(graph);
        weights::check(graph, &weights)?;
        lower::check(graph)?;
        Ok(Self { bytes, model, facts, weights, products })
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How pictures become its input.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.facts.preprocessing
    }

    /// D of its output `[N, D]`.
    pub fn dim(&self) -> usize {
        self.facts.dim
    }

    /// SHA-256 of the file.
    pub fn sha256(&self) -> &str {
        &self.facts.sha256
    }

    /// What the user should know of how it was read.
    pub fn notes(&self) -> &[String] {
        &self.facts.notes
    }

    /// What is learned of it: weights under the file's names, and with batch statistics the running ones.
    /// Names that begin with `head.`, as those of a loss do, have `model.` before them.
    ///
    /// # Errors
    /// A prefix that fits no weight; batch statistics of a model without batch normalisation; nothing left to
    /// learn.
    pub fn specs(&self, how: &OnnxTower) -> Result<Vec<ParamSpec>> {
        let all = || self.weights.iter().map(|w| w.name.as_str());
        for prefix in &how.freeze {
            if !all().any(|name| name.starts_with(prefix)) {
                let hint = nearest(prefix, &mut all()).map(|name| format!("; did you mean {name:?}?"));
                let why = format!(
                    "no weight of {} has a name that begins with {prefix:?}{}",
                    how.onnx.display(),
                    hint.unwrap_or_default()
                );
                return Err(Error::invalid("tower.freeze", why));
            }
        }
        if how.batch_norm == BatchNorm::Batch && !self.weights.iter().any(|w| w.role.is_statistic()) {
            let why = "the model has no batch normalisation: its exporter has folded it into the convolutions, or \
                       it never had any";
            return Err(Error::invalid("tower.batch_norm", why));
        }
        let learned: Vec<&Weight> = self.weights.iter().filter(|w| self.learns(how, w)).collect();
        if learned.iter().all(|w| w.role.is_statistic()) {
            let why =
                format!("all {} weights of the model are frozen; leave some to learn", self.weights.len());
            return Err(Error::invalid("tower", why));
        }
        Ok(learned.into_iter().map(Weight::spec).collect())
    }

    fn learns(&self, how: &OnnxTower, weight: &Weight) -> bool {
        let deep = how.train_last.is_none_or(|last| weight.product + last > self.products);
        let named = how.freeze.iter().any(|prefix| weight.name.starts_with(prefix));
        let moves = !weight.role.is_statistic() || how.batch_norm == BatchNorm::Batch;
        deep && !named && moves
    }

    /// The file's value of a parameter.
    ///
    /// # Errors
    /// A weight that does not fill its shape.
    pub fn value(&self, name: &str) -> Result<Option<ArrayD<f32>>> {
        let Some(weight) = self.weights.iter().find(|w| w.name == name) else { return Ok(None) };
        let mut stored = self.model.graph.iter().flat_map(|graph| &graph.initializer);
        let tensor = stored.find(|tensor| tensor.name() == weight.stored);
        tensor.map(|tensor| Ok(numbers(tensor)?.mapv(|x| x as f32))).transpose()
    }

    /// Builds it into a graph: `image` is `uint8 [N, C, S, S]`, `values` hold what [`Backbone::specs`] lists;
    /// everything else is constant. Channels are first as in the file; where they are asked to be last, what the
    /// CPU's provider is slow at is built another way.
    ///
    /// # Errors
    /// Forms of operators that have no derivative, all of which are named.
    pub fn forward<'g>(
        &self,
        how: &OnnxTower,
        image: Expr<'g>,
        values: &BTreeMap<String, Expr<'g>>,
        mode: Mode,
        channels: Channels,
    ) -> Result<Forward<'g>> {
        let stored: HashMap<&str, &str> =
            self.weights.iter().map(|w| (w.stored.as_str(), w.name.as_str())).collect();
        let learned = |name: &str| Some((*stored.get(name)?, *values.get(*stored.get(name)?)?));
        let lowered = lower::lower(&self.model, image, &learned, mode, channels)?;
        if lowered.embedding.shape() != [image.dim(0), self.dim()] {
            let why = format!(
                "gives {:?} for a batch, not {:?}",
                lowered.embedding.shape(),
                [image.dim(0), self.dim()]
            );
            return Err(Error::invalid(how.onnx.display(), why));
        }
        Ok(lowered)
    }

    /// The file's model with these parameters in it.
    ///
    /// # Errors
    /// A parameter that is missing, of another shape, or not finite.
    pub fn trained(&self, how: &OnnxTower, params: &Params) -> Result<ModelProto> {
        let mut model = self.model.clone();
        let learned: HashMap<String, ParamSpec> =
            self.specs(how)?.into_iter().map(|spec| (spec.name.clone(), spec)).collect();
        let named: HashMap<&str, &str> =
            self.weights.iter().map(|w| (w.stored.as_str(), w.name.as_str())).collect();
        for tensor in model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
            let name = named.get(tensor.name()).copied().unwrap_or_default();
            if let Some(spec) = learned.get(name) {
                let array = shaped(params, name, &spec.shape)
                    .map_err(|why| Error::invalid(format!("parameter {name}"), why))?;
                if array.iter().any(|x| !x.is_finite()) {
                    let why = "holds a NaN or an infinite number; the training diverged";
                    return Err(Error::invalid(format!("parameter {name}"), why));
                }
                *tensor = Tensor::F32(array.as_standard_layout().into_owned()).to_proto(tensor.name());
            }
        }
        Ok(model)
    }
}

/// The float tensor that a node holds, under the name of its result.
fn constant(node: &crate::onnx::NodeProto) -> Option<TensorProto> {
    let tensor = node.tensor("value").filter(|_| node.operator() == Some(Operator::Constant))?;
    let float = DType::from_onnx(tensor.data_type()) == Some(DType::F32);
    let [name] = node.output.as_slice() else { return None };
    float.then(|| TensorProto { name: Some(name.clone()), ..tensor.clone() })
}

impl Weight {
    fn spec(&self) -> ParamSpec {
        ParamSpec {
            name: self.name.clone(),
            shape: self.shape.clone(),
            role: self.role,
            fan_in: self.fans[0],
            fan_out: self.fans[1],
        }
    }
}
