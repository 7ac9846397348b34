//! What 1 stands for in each value of an exact tower.
//!
//! A unit is any real number: the weights of the product before take it in, so that only the ratio of an
//! accumulator to its result is a power of two. Where products alone read a value, each of its channels has a unit
//! of its own: cross-layer equalisation (Nagel et al. 2019, section 4.1) in the integers' own terms. Before
//! depthwise products that is the channel's own reach; before others it is the geometric mean of that and of the
//! reach of all, since the rows of their weights share one scale.

use super::graph::FloatGraph;
use super::observe::Spread;
use super::plan::{Make, Place, Plan, Planned, View, at, zip};
use crate::exactness::ACTIVATION_MAX;
use crate::onnx::{NodeProto, Operator};
use crate::op::{self, Call};
use crate::{Error, Result};
use ndarray::{ArrayD, IxDyn};

/// A channel's unit is no less than that of all by more than this.
const NARROWEST: f64 = 1.0 / 64.0;

/// The units of each value: one, or one a channel.
pub(super) fn units(graph: &FloatGraph, plan: &Plan, spreads: &[Option<Spread>]) -> Result<Vec<Vec<f64>>> {
    let ties = Ties::of(graph, plan)?;
    let reach = |place: Place| spreads[place].as_ref().map_or(0.0, Spread::reach);
    // One unit for all that are tied.
    let mut common = vec![0.0f64; plan.values.len()];
    for (place, planned) in plan.values.iter().enumerate() {
        let root = ties.root(place);
        common[root] = common[root].max(limited(reach(place), planned));
    }
    for planned in &plan.values {
        if let Make::HardSwish { x } = planned.make {
            // 3 is a whole number of units, also where it is asked for twice.
            let root = ties.root(x);
            let unit = positive(common[root]) / ACTIVATION_MAX;
            common[root] = ACTIVATION_MAX * 3.0 / (3.0 / unit + 1e-9).floor().clamp(1.0, 4096.0);
        }
    }
    let mut units: Vec<Vec<f64>> = Vec::with_capacity(plan.values.len());
    for (place, planned) in plan.values.iter().enumerate() {
        let found = match &planned.make {
            Make::Image => vec![1.0],
            Make::Centred(view) => zip(&view.factor, &units[view.place], |f, u| f * u),
            Make::Moved { inputs, moved } if !ties.one[place] => {
                let given: Vec<(&[f64], &[usize])> = inputs
                    .iter()
                    .map(|i| (units[*i].as_slice(), graph.values[plan.values[*i].of].shape.as_slice()))
                    .collect();
                moved_channels(moved, &given)
                    .ok_or_else(|| Error::invalid("the units", "of moved channels differ"))?
            }
            _ => match &spreads[place] {
                Some(spread) if ties.apart[place] => apart(spread, planned, ties.depthwise[place]),
                _ => vec![positive(common[ties.root(place)]) / ACTIVATION_MAX],
            },
        };
        units.push(found);
    }
    Ok(units)
}

/// What is kept of a magnitude; a value does not go beyond its limits.
fn limited(reach: f64, planned: &Planned) -> f64 {
    let [low, high] = planned.limits;
    reach.min(high.abs().max(low.abs()))
}

/// Of a value that was 0 on all pictures any unit will do.
fn positive(reach: f64) -> f64 {
    if reach > 0.0 { reach } else { 1.0 }
}

/// A unit for each channel.
fn apart(spread: &Spread, planned: &Planned, depthwise: bool) -> Vec<f64> {
    let reaches: Vec<f64> = spread.reaches().iter().map(|r| limited(*r, planned)).collect();
    let most = positive(reaches.iter().copied().fold(0.0, f64::max));
    let unit = |reach: &f64| {
        let reach = reach.max(most * NARROWEST);
        if depthwise { reach } else { (reach * most).sqrt() }
    };
    reaches.iter().map(|r| unit(r) / ACTIVATION_MAX).collect()
}

/// Which values share a unit.
struct Ties {
    parent: Vec<Place>,
    /// All channels have one unit, the same as all that are tied to it.
    one: Vec<bool>,
    /// Each channel has its own.
    apart: Vec<bool>,
    /// Only depthwise products read it.
    depthwise: Vec<bool>,
}

impl Ties {
    fn of(graph: &FloatGraph, plan: &Plan) -> Result<Self> {
        let count = plan.values.len();
        let mut ties = Self {
            parent: (0..count).collect(),
            one: vec![false; count],
            apart: vec![true; count],
            depthwise: vec![true; count],
        };
        ties.one[plan.output] = true;
        for place in (0..count).rev() {
            ties.read(graph, plan, place);
        }
        for place in 0..count {
            ties.apart[place] &= !ties.one[place];
        }
        Ok(ties)
    }

    /// What a value asks of those that it is made from.
    fn read(&mut self, graph: &FloatGraph, plan: &Plan, place: Place) {
        let together = |ties: &mut Self, view: &View| ties.apart[view.place] = false;
        match &plan.values[place].make {
            Make::Image | Make::Centred(_) => {}
            Make::Sum(act) => {
                for term in &act.products {
                    let product = &term.product;
                    if product.groups < graph.channels(plan.values[term.input.place].of) {
                        self.depthwise[term.input.place] = false;
                    }
                }
                act.views.iter().for_each(|view| together(self, view));
            }
            // Each channel is scaled by itself.
            Make::Mean { .. } => {}
            Make::Scaled { a, b } => [a, b].into_iter().for_each(|view| together(self, view)),
            Make::Leaky { x, .. } => self.apart[*x] = false,
            Make::HardSwish { x } => self.one[*x] = true,
            // One table serves all channels.
            Make::Table { x, .. } => [*x, place].into_iter().for_each(|p| self.one[p] = true),
            Make::Moved { inputs, moved } => {
                let marks: Vec<Vec<f64>> = inputs
                    .iter()
                    .enumerate()
                    .map(|(i, x)| {
                        let channels = graph.channels(plan.values[*x].of);
                        (0..channels).map(|c| (i * 100_000 + c + 1) as f64).collect()
                    })
                    .collect();
                let shape = |x: &Place| graph.values[plan.values[*x].of].shape.as_slice();
                let given: Vec<(&[f64], &[usize])> =
                    marks.iter().map(Vec::as_slice).zip(inputs.iter().map(shape)).collect();
                self.one[place] |= moved_channels(moved, &given).is_none();
                for &x in inputs {
                    self.apart[x] &= self.apart[place];
                    self.depthwise[x] &= self.depthwise[place];
                    if self.one[place] {
                        self.one[x] = true;
                        self.tie(x, place);
                    }
                }
            }
        }
    }

    fn root(&self, place: Place) -> Place {
        let mut at = place;
        while self.parent[at] != at {
            at = self.parent[at];
        }
        at
    }

    fn tie(&mut self, a: Place, b: Place) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }
}

/// A number for each channel after a node that moves them, from those before; none where a channel would have
/// several.
pub(super) fn moved_channels(moved: &super::graph::Moved, given: &[(&[f64], &[usize])]) -> Option<Vec<f64>> {
    if let [(channels, _)] = given
        && matches!(moved.operator, Operator::Pad | Operator::MaxPool)
    {
        return Some(channels.to_vec());
    }
    if given.iter().all(|(channels, _)| channels.len() == 1 && channels[0] == given[0].0[0]) {
        return Some(given[0].0.to_vec());
    }
    let spread = |(channels, shape): &(&[f64], &[usize])| {
        ArrayD::from_shape_fn(IxDyn(shape), |place| at(channels, place[1]))
    };
    let mut inputs: Vec<ArrayD<f64>> = given.iter().map(spread).collect();
    let lists = moved.lists.iter().map(|list| list.iter().map(|x| *x as f64).collect::<Vec<_>>());
    inputs.extend(lists.map(|list| ndarray::arr1(&list).into_dyn()));
    let node = NodeProto {
        input: (0..inputs.len()).map(|i| i.to_string()).collect(),
        output: vec!["moved".into()],
        op_type: Some(moved.operator.name().into()),
        attribute: moved.attributes.clone(),
        ..NodeProto::default()
    };
    let inputs: Vec<Option<&ArrayD<f64>>> = inputs.iter().map(Some).collect();
    let call = Call { node: &node, opset: crate::graph::OPSET, integers: false, inputs: &inputs };
    let result = op::evaluate(moved.operator, &call).ok()?.into_iter().next()?;
    let one = |channel: ndarray::ArrayViewD<'_, f64>| {
        let first = *channel.first()?;
        channel.iter().all(|x| *x == first).then_some(first)
    };
    if result.ndim() < 2 {
        return None;
    }
    result.axis_iter(ndarray::Axis(1)).map(one).collect()
}
