//! Steps as they are added and extended.

use super::Lowering;
use crate::edge::draft::{ActionDraft, LoweredValue, MapDraft, Pooling, Stage, StepDraft};
use crate::edge::kernels::Epilogue;
use crate::edge::view::View;
use crate::exactness::Range;
use crate::onnx::NodeProto;

impl Lowering<'_> {
    /// A step that maps each element.
    pub(super) fn each(&self, name: &str, from: usize) -> StepDraft {
        let MapDraft { channels, range, .. } = &self.maps[from];
        StepDraft {
            name: name.into(),
            action: ActionDraft::Elementwise,
            from,
            other: None,
            residual: None,
            to: 0,
            epilogue: Epilogue::identity(*channels),
            function: None,
            stage: Stage::Affine,
            strict: range.is_some(),
        }
    }

    /// Adds a step, and the map that it fills.
    pub(super) fn push(
        &mut self,
        mut draft: StepDraft,
        channels: usize,
        size: [usize; 2],
        range: Option<Range>,
        view: View,
    ) -> LoweredValue {
        let narrow = match draft.action {
            ActionDraft::Product(_)
            | ActionDraft::Elementwise
            | ActionDraft::Table(_)
            | ActionDraft::Gate { .. } => true,
            ActionDraft::Pool(Pooling::Max, _) | ActionDraft::Copy { .. } => self.maps[draft.from].bytes(),
            _ => false,
        };
        draft.to = self.maps.len();
        let value = LoweredValue::of(draft.to, view);
        let lift = Vec::new();
        self.maps.push(MapDraft { channels, size, border: [0; 4], range, narrow, lift, constant: None });
        self.drafts.push(draft);
        value
    }

    /// The step to extend for what nodes do with `value`, which is `name` and covers its map: the one that
    /// makes it, if these `nodes` alone read it and it `fits`, otherwise a new one.
    pub(super) fn extended(
        &mut self,
        nodes: &[&NodeProto],
        value: &LoweredValue,
        fits: impl FnOnce(&StepDraft) -> bool,
    ) -> (usize, LoweredValue) {
        if let Some(i) = self.open(nodes, value).filter(|i| fits(&self.drafts[*i])) {
            return (i, LoweredValue { open: Some(i), ..value.clone() });
        }
        let draft = self.each(nodes.first().map_or("", |node| node.name()), value.map);
        let MapDraft { channels, size, range, .. } = self.maps[value.map].clone();
        let made = self.push(draft, channels, size, range, value.view.clone());
        let i = self.drafts.len() - 1;
        (i, LoweredValue { open: Some(i), ..made })
    }

    /// The step that makes a value, if only these nodes read it.
    pub(super) fn open(&self, nodes: &[&NodeProto], value: &LoweredValue) -> Option<usize> {
        let of_map = |name: &&String| self.values.get(name.as_str()).is_some_and(|v| v.map == value.map);
        let name = nodes.iter().flat_map(|node| &node.input).find(of_map)?;
        let reader = &self.reader;
        let one_of = |user: &Option<usize>| {
            user.is_some_and(|i| nodes.iter().any(|node| std::ptr::eq(*node, &reader.graph.node[i])))
        };
        reader.users(name).iter().all(one_of).then_some(())?;
        value.open
    }
}
