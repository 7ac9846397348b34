//! The smallest sub-model that shows a divergence, written as an ONNX test case.
//!
//! The first tensor whose values on A and B differ beyond the tolerance is what the sub-model
//! computes. Its inputs are then moved towards it as far as the divergence allows: first by
//! halving the stretch of nodes before it, then node by node until no node can be left out. Both
//! runtimes get the same values for those inputs (A's own), so the sub-model diverges by itself.

use super::cut::Wiring;
use super::layers::max_gap;
use super::values::Tolerance;
use crate::onnx::{ModelProto, Tensor};
use crate::runtime::{Engine, Named};
use crate::{Error, Result, files};
use prost::Message;
use serde::Serialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A sub-model that shows a divergence.
#[derive(Clone, Debug)]
pub struct Reduced {
    /// The sub-model for A.
    pub model: ModelProto,
    /// That for B, where B runs another version of the model.
    pub other: Option<ModelProto>,
    /// Its inputs.
    pub inputs: Named,
    /// A's outputs.
    pub outputs: Vec<Tensor>,
    /// What it is, for reports.
    pub summary: Summary,
}

/// What a reduction found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The nodes that are left, in order.
    pub nodes: Vec<String>,
    /// Of how many.
    pub of: usize,
    /// The tensor that differs.
    pub output: String,
    /// Its largest |a − b|.
    pub max_abs: f64,
    /// The folder it was written to.
    pub folder: Option<PathBuf>,
}

/// Searches for the smallest sub-model of `models` (B's may be another version with the same tensor
/// names) on which `a` and `b` differ beyond `tolerance`; none where the whole graph does not.
///
/// # Errors
/// Where a runtime cannot run the whole graph.
pub fn reduce(
    (a, b): (&mut dyn Engine, &mut dyn Engine),
    models: [&ModelProto; 2],
    inputs: &[(String, Tensor)],
    tolerance: Tolerance,
) -> Result<Option<Reduced>> {
    let wiring = [Wiring::new(models[0])?, Wiring::new(models[1])?];
    let mut search = Search { a, b, wiring: &wiring, values: inputs.iter().cloned().collect(), tolerance };
    let Some(target) = search.first_divergence(inputs)? else { return Ok(None) };
    let mut best = search.trial(search.boundary(&[], &target)?, &target)?.filter(|t| t.diverges);
    // The stretch from place `start` on; the whole graph is known to diverge.
    let nodes = wiring[0].needed(&search.given(), &[&target])?;
    let (mut low, mut high) = (0, nodes.len());
    while high - low > 1 {
        let middle = (low + high) / 2;
        match search.attempt(&nodes[middle..], &target)? {
            Some(trial) => (low, best) = (middle, Some(trial)),
            None => high = middle,
        }
    }
    let mut kept = nodes[low..].to_vec();
    let mut place = 0;
    while kept.len() > 1 && place < kept.len() {
        let fewer: Vec<usize> = kept.iter().copied().filter(|&n| n != kept[place]).collect();
        match search.attempt(&fewer, &target)? {
            Some(trial) => (kept, best, place) = (trial.nodes.clone(), Some(trial), 0),
            None => place += 1,
        }
    }
    Ok(best.map(|trial| trial.finish(&wiring, target, models[0] != models[1])))
}

struct Search<'a> {
    a: &'a mut dyn Engine,
    b: &'a mut dyn Engine,
    wiring: &'a [Wiring<'a>; 2],
    /// A's value of every tensor.
    values: HashMap<String, Tensor>,
    tolerance: Tolerance,
}

struct Trial {
    models: [ModelProto; 2],
    inputs: Named,
    nodes: Vec<usize>,
    outputs: Vec<Tensor>,
    gap: f64,
    diverges: bool,
}

impl Search<'_> {
    fn given(&self) -> Vec<&str> {
        self.wiring[0].inputs()
    }

    /// The first tensor that differs when the whole graph runs with every inner tensor shown; the
    /// final one where only an unobserved run differs.
    fn first_divergence(&mut self, inputs: &[(String, Tensor)]) -> Result<Option<String>> {
        let wiring = self.wiring;
        let mut names: Vec<&str> = Vec::new();
        for node in wiring[0].dynamic_nodes() {
            names
                .extend(wiring[0].data_outputs(node).into_iter().filter(|n| wiring[1].producer(n).is_some()));
        }
        let a = self.a.run(&wiring[0].extract(inputs, &names)?, inputs)?;
        let b = self.b.run(&wiring[1].extract(inputs, &names)?, inputs)?;
        let differs = a.iter().zip(&b).position(|(a, b)| self.differs(a, b).1);
        self.values.extend(names.iter().map(|n| String::from(*n)).zip(a));
        if let Some(place) = differs {
            return Ok(Some(names[place].into()));
        }
        for output in wiring[0].outputs() {
            let diverges = self.trial(self.boundary(&[], output)?, output)?.is_some_and(|t| t.diverges);
            if diverges {
                return Ok(Some(output.into()));
            }
        }
        Ok(None)
    }

    /// The largest difference of two tensors, and whether it is beyond the tolerance.
    fn differs(&self, a: &Tensor, b: &Tensor) -> (f64, bool) {
        let (x, y) = (a.to_f64(), b.to_f64());
        let Tolerance { atol, rtol } = self.tolerance;
        let beyond = |(x, y): (&f64, &f64)| {
            // A difference that is no number is beyond any tolerance.
            let within = (x - y).abs() <= atol + rtol * y.abs();
            x != y && !(x.is_nan() && y.is_nan()) && !within
        };
        (max_gap(&x, &y), x.shape() != y.shape() || x.iter().zip(&y).any(beyond))
    }

    /// The tensors that `nodes` read from outside: the graph's inputs for an empty list.
    fn boundary(&self, nodes: &[usize], target: &str) -> Result<Vec<String>> {
        if nodes.is_empty() {
            let needed = self.wiring[0].needed(&self.given(), &[target])?;
            return self.boundary(&needed, target);
        }
        let mut names: Vec<String> = Vec::new();
        for &node in nodes {
            for name in self.wiring[0].data_inputs(node) {
                let inside = self.wiring[0].producer(name).is_some_and(|p| nodes.contains(&p));
                if !inside && !names.iter().any(|n| n == name) {
                    names.push(name.into());
                }
            }
        }
        Ok(names)
    }

    fn attempt(&mut self, nodes: &[usize], target: &str) -> Result<Option<Trial>> {
        let makes = self.wiring[0].producer(target).is_some_and(|p| nodes.contains(&p));
        if !makes {
            return Ok(None);
        }
        let boundary = self.boundary(nodes, target)?;
        Ok(self.trial(boundary, target)?.filter(|trial| trial.diverges))
    }

    /// Runs the sub-model between `boundary` and `target`; none where a runtime refuses it.
    fn trial(&mut self, boundary: Vec<String>, target: &str) -> Result<Option<Trial>> {
        let names: Vec<&str> = boundary.iter().map(String::as_str).collect();
        let nodes = self.wiring[0].needed(&names, &[target])?;
        // A boundary tensor that another one shadows is read by no node that is left.
        let read =
            |name: &&String| nodes.iter().any(|&n| self.wiring[0].data_inputs(n).contains(&name.as_str()));
        let inputs = boundary.iter().filter(read).map(|name| {
            let value = self.values.get(name).cloned();
            Ok((name.clone(), value.ok_or_else(|| Error::invalid(name, "was not computed"))?))
        });
        let inputs = inputs.collect::<Result<Named>>()?;
        let (Ok(model), Ok(other)) =
            (self.wiring[0].extract(&inputs, &[target]), self.wiring[1].extract(&inputs, &[target]))
        else {
            return Ok(None);
        };
        let (Ok(a), Ok(b)) = (self.a.run(&model, &inputs), self.b.run(&other, &inputs)) else {
            return Ok(None);
        };
        let (gap, diverges) = self.differs(&a[0], &b[0]);
        Ok(Some(Trial { models: [model, other], inputs, nodes, outputs: a, gap, diverges }))
    }
}

impl Trial {
    fn finish(self, wiring: &[Wiring<'_>; 2], output: String, two: bool) -> Reduced {
        let [model, other] = self.models;
        let summary = Summary {
            nodes: self.nodes.iter().map(|&n| wiring[0].label(n)).collect(),
            of: wiring[0].dynamic_nodes().len(),
            output,
            max_abs: self.gap,
            folder: None,
        };
        Reduced { model, other: two.then_some(other), inputs: self.inputs, outputs: self.outputs, summary }
    }
}

impl Reduced {
    /// Writes `model.onnx` (and `other.onnx`), and `test_data_set_0/{input,output}_K.pb`, the layout
    /// of ONNX's own test cases; the outputs are A's.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn write(&mut self, folder: &Path) -> Result<()> {
        let data = folder.join("test_data_set_0");
        std::fs::create_dir_all(&data).map_err(Error::io("create", &data))?;
        let put = |path: PathBuf, bytes: Vec<u8>| files::replace(&path, &bytes);
        put(folder.join("model.onnx"), self.model.encode_to_vec())?;
        if let Some(other) = &self.other {
            put(folder.join("other.onnx"), other.encode_to_vec())?;
        }
        for (k, (name, value)) in self.inputs.iter().enumerate() {
            put(data.join(format!("input_{k}.pb")), value.to_proto(name).encode_to_vec())?;
        }
        for (k, value) in self.outputs.iter().enumerate() {
            put(data.join(format!("output_{k}.pb")), value.to_proto(&self.summary.output).encode_to_vec())?;
        }
        self.summary.folder = Some(folder.into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::layers::tests::{images, tower};
    use super::*;
    use crate::onnx::TensorProto;
    use crate::runtime::Interpreted;

    fn reduced(fault: Option<(&'static str, fn(f64) -> f64)>, models: [&ModelProto; 2]) -> Option<Reduced> {
        let (mut a, mut b) = (Interpreted::sound("a"), Interpreted { name: "b", fault });
        reduce((&mut a, &mut b), models, &images(), Tolerance::default()).unwrap()
    }

    #[test]
    fn one_faulty_operator_is_cut_out_and_still_diverges() {
        let model = tower(1.0);
        let found = reduced(Some(("Add", |x| x * 1.01)), [&model, &model]).unwrap();
        assert_eq!((found.summary.nodes.len(), found.summary.of), (1, 6));
        assert!(found.summary.nodes[0].contains("Add") && found.inputs.len() == 2);
        let run = |mock: &mut Interpreted| mock.run(&found.model, &found.inputs).unwrap();
        let a = run(&mut Interpreted::sound("a"));
        let b = run(&mut Interpreted { name: "b", fault: Some(("Add", |x| x * 1.01)) });
        assert!(max_gap(&a[0].to_f64(), &b[0].to_f64()) > 0.1);
    }

    #[test]
    fn a_changed_weight_leaves_one_convolution_with_its_weights() {
        let (model, planted) = (tower(1.0), tower(1.01));
        let found = reduced(None, [&model, &planted]).unwrap();
        assert_eq!(found.summary.nodes.len(), 1);
        let graph = found.model.graph.as_ref().unwrap();
        assert_eq!(graph.node[0].op_type.as_deref(), Some("Conv"));
        assert_eq!(graph.initializer.len(), 1);
        assert_eq!(graph.initializer[0].name.as_deref(), Some("conv2.weight"));
        assert!(found.other.is_some());
    }

    #[test]
    fn runtimes_that_agree_leave_nothing_to_cut() {
        let model = tower(1.0);
        assert!(reduced(None, [&model, &model]).is_none());
    }

    #[test]
    fn the_case_is_written_as_onnx_writes_tests() {
        let model = tower(1.0);
        let mut found = reduced(Some(("Relu", |x| x + 1.0)), [&model, &model]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        found.write(folder.path()).unwrap();
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        let back = ModelProto::decode(read("model.onnx").as_slice()).unwrap();
        assert_eq!(back, found.model);
        let input = TensorProto::decode(read("test_data_set_0/input_0.pb").as_slice()).unwrap();
        assert_eq!(input.name, back.graph.unwrap().input[0].name);
        assert!(!read("test_data_set_0/output_0.pb").is_empty());
        assert!(!folder.path().join("other.onnx").exists());
    }
}
