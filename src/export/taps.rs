//! Which value of the float tower stands for which layer's result.

use crate::model::Placed;
use crate::model::recipe::Layer;
use crate::onnx::ModelProto;
use std::collections::HashMap;

/// Names of values in a float tower's graph, whose nodes are called `layer/Op_3`.
pub(super) struct Taps {
    /// The scaled image.
    pub image: String,
    after: HashMap<String, String>,
    middle: HashMap<String, String>,
}

impl Taps {
    pub fn of(model: &ModelProto, placed: &[Placed]) -> Self {
        let nodes = model.graph.as_ref().map_or(&[][..], |g| &g.node);
        let output = |node: &crate::onnx::NodeProto| node.output.first().cloned().unwrap_or_default();
        let image = nodes.iter().find(|n| n.op_type() == "Mul").map(output).unwrap_or_default();
        let mut taps = Self { image: image.clone(), after: HashMap::new(), middle: HashMap::new() };
        let mut last = image;
        for (i, p) in placed.iter().enumerate() {
            let own = |n: &&crate::onnx::NodeProto| n.name().starts_with(&format!("{}/", p.name));
            if let Some(node) = nodes.iter().rfind(own) {
                last = output(node);
            }
            if let Some(relu) = nodes.iter().filter(own).find(|n| n.op_type() == "Relu") {
                taps.middle.insert(p.name.clone(), output(relu));
            }
            taps.after.insert(p.name.clone(), last.clone());
            // A product is rounded after its ReLU, which may follow a folded normalisation.
            if p.layer == Layer::Relu {
                for before in placed[..i].iter().rev() {
                    match before.layer {
                        Layer::BatchNorm | Layer::Dropout(_) => {}
                        Layer::Conv { .. } | Layer::Fc { .. } => {
                            taps.after.insert(before.name.clone(), last.clone());
                            break;
                        }
                        _ => break,
                    }
                }
            }
        }
        taps
    }

    /// The value after a layer; of a product with a ReLU, after that.
    pub fn after(&self, layer: &str) -> String {
        self.after.get(layer).cloned().unwrap_or_default()
    }

    /// The value between the two convolutions of a block.
    pub fn middle(&self, block: &str) -> String {
        self.middle.get(block).cloned().unwrap_or_default()
    }

    /// All of them.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.after.values().chain(self.middle.values()).cloned().collect();
        names.push(self.image.clone());
        names.sort();
        names.dedup();
        names
    }
}
