//! Constants that a fixed batch holds once for each of its pictures, for a batch of any size.

use super::place::Place;
use super::{COUNT, Walk};
use crate::Result;
use crate::onnx::{AttributeProto, NodeProto};
use crate::op;

impl Walk {
    /// A constant that has `times` entries along an axis for each picture of the fixed batch: those of the
    /// first picture, `N` times where `spread` says so. (One entry broadcasts by itself.)
    pub(super) fn repeated(
        &mut self,
        node: &NodeProto,
        name: &str,
        (axis, times): (usize, usize),
        place: Place,
        spread: bool,
    ) -> Result<String> {
        let sizes = self.sizes(node, name)?;
        if sizes[axis] != times * self.batch || place.before != 1 || self.opset < 10 {
            let why = format!("{name} of shape {sizes:?} cannot be repeated for each picture");
            return Err(op::fail(node, why));
        }
        self.changed(node);
        let mut value = name.to_string();
        if self.batch > 1 {
            let bounds = [vec![0], vec![times as i64], vec![axis as i64]];
            let lists: Vec<String> = bounds.iter().map(|list| self.list(node, "first", list)).collect();
            value = self.helper(node, "Slice", &[&[value], &lists[..]].concat(), vec![])?;
        }
        if spread {
            let repeats = self.repeats(node, axis, sizes.len())?;
            value = self.helper(node, "Tile", &[value, repeats], vec![])?;
        }
        Ok(value)
    }

    /// `[1, …, N, …, 1]`, with N at `axis`.
    fn repeats(&mut self, node: &NodeProto, axis: usize, rank: usize) -> Result<String> {
        if !self.counted {
            self.counted = true;
            let image = self.input.clone();
            let shape = self.helper(node, "Shape", std::slice::from_ref(&image), vec![])?;
            let first = self.list(node, "first", &[0]);
            let count = self.helper(node, "Gather", &[shape, first], vec![])?;
            if let Some(last) = self.nodes.last_mut() {
                last.output = vec![COUNT.into()];
            }
            let known = self.open.get(&count).cloned().unwrap_or_default();
            self.open.set(COUNT, known);
            let known = self.fixed.get(&count).cloned().unwrap_or_default();
            self.fixed.set(COUNT, known);
        }
        let mut parts = vec![COUNT.to_string()];
        if axis > 0 {
            parts.insert(0, self.list(node, "ones", &vec![1; axis]));
        }
        if axis + 1 < rank {
            parts.push(self.list(node, "ones", &vec![1; rank - axis - 1]));
        }
        match parts.as_slice() {
            [only] => Ok(only.clone()),
            _ => self.helper(node, "Concat", &parts, vec![AttributeProto::int("axis", 0)]),
        }
    }

    /// Adds a node of ours; the name of its result.
    fn helper(
        &mut self,
        node: &NodeProto,
        op: &str,
        inputs: &[String],
        attributes: Vec<AttributeProto>,
    ) -> Result<String> {
        let base = node.output.first().map_or("", String::as_str);
        let name = format!("{base}/any-batch/{op}_{}", self.nodes.len());
        let made = NodeProto {
            input: inputs.to_vec(),
            output: vec![format!("{name}:0")],
            name: Some(name.clone()),
            op_type: Some(op.into()),
            attribute: attributes,
            ..NodeProto::default()
        };
        self.fixed.follow(&made)?;
        self.open.follow(&made)?;
        self.nodes.push(made);
        Ok(format!("{name}:0"))
    }
}
