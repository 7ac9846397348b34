//! How each kind of node is made to take any batch.

use super::Walk;
use super::place::Place;
use crate::onnx::{AttributeProto, NodeProto, Operator};
use crate::op::{self, Type, version_at};
use crate::{Error, Result};

impl Walk {
    /// `Reshape`, `Flatten`, `Squeeze`, `Unsqueeze`: the same elements in another shape.
    pub(super) fn refit(&mut self, mut node: NodeProto) -> Result<()> {
        let fail = |why: &str| Err(op::fail(&node, why));
        let Some(place) = self.place(&node, 0) else { return fail("takes its shape from the picture") };
        let output = node.output.first().cloned().unwrap_or_default();
        let from = self.sizes(&node, node.input_name(0).unwrap_or_default())?;
        let to = self.sizes(&node, &output)?;
        let mut places = place.after(&from, &to, self.batch);
        if node.operator() == Some(Operator::Squeeze) && squeezes_batch(&place, &to, &places, self.batch) {
            places.insert(0, Place { axis: 0, before: 1, hidden: true });
        }
        // What does not fit an open batch is rewritten.
        let open = self.infer(&node).ok().and_then(|results| results.into_iter().next()?.shape);
        let seen = |place: &Place| open.as_ref().is_some_and(|open| place.is_seen(&to, self.batch, open));
        let first = places.first().copied();
        // A list of one picture's numbers stays one: [N, D] in place of [D] says more than [N·D].
        let own =
            places.iter().copied().find(seen).filter(|own| own.hidden || first.is_none_or(|p| !p.hidden));
        let Some(place) = own.or(first) else {
            return fail("mixes the batch with other axes");
        };
        if own.is_none() {
            if self.opset < 5 || to.contains(&0) {
                return fail("cannot be told another shape at this opset");
            }
            self.changed(&node);
            let target = self.list(&node, "any-batch", &place.target(&to));
            node.input = vec![node.input[0].clone(), target];
            node.attribute.clear();
            node.op_type = Some("Reshape".into());
        }
        let known = self.infer(&node)?.into_iter().next().unwrap_or_default();
        let shape = known.shape.as_deref().unwrap_or_default();
        if !place.is_seen(&to, self.batch, shape) {
            return Err(op::fail(&node, format!("gives {known} for a batch of any size")));
        }
        self.open.set(&output, known);
        self.places.insert(output, place);
        self.nodes.push(node);
        Ok(())
    }

    /// A node whose settings hold for any batch, its constants spread to it where they must be.
    pub(super) fn adapted(&mut self, node: NodeProto, operator: Operator) -> Result<NodeProto> {
        use Operator::*;
        let hidden = (0..node.input.len()).any(|i| self.place(&node, i).is_some_and(|place| place.hidden));
        match operator {
            Add | And | Div | Equal | Greater | GreaterOrEqual | Less | LessOrEqual | Max | Mean | Min
            | Mod | Mul | Or | PRelu | Pow | Sub | Sum | Where => self.broadcast(node, 0),
            // Its first two inputs are matrices, the third broadcasts.
            Gemm if !hidden => self.broadcast(node, 0),
            MatMul => self.broadcast(node, 2),
            Concat => self.joined(node),
            Expand => self.expanded(node),
            Gather => self.gathered(node),
            Slice if !hidden => self.sliced(node),
            Transpose if hidden => Ok(self.turned(node)),
            ReduceL1 | ReduceL2 | ReduceMax | ReduceMean | ReduceMin | ReduceProd | ReduceSum
            | ReduceSumSquare | ReduceLogSumExp => self.reduced(node),
            Softmax | LogSoftmax | LpNormalization => self.along(node, operator),
            Abs | Cast | Ceil | Clip | Cos | Dropout | Elu | Erf | Exp | Floor | Gelu | HardSigmoid
            | HardSwish | Identity | LeakyRelu | Log | Mish | Neg | Not | Reciprocal | Relu | Round
            | Selu | Sigmoid | Sign | Sin | Softplus | Softsign | Sqrt | Tanh => Ok(node),
            LayerNormalization if hidden && node.int_or("axis", -1) < 0 => Ok(node),
            _ if hidden => Err(op::fail(&node, "reads a value that has lost its batch axis")),
            AveragePool
            | BatchNormalization
            | Conv
            | ConvTranspose
            | DepthToSpace
            | GlobalAveragePool
            | GlobalMaxPool
            | GroupNormalization
            | InstanceNormalization
            | Lrn
            | MaxPool
            | SpaceToDepth => match self.place(&node, 0) {
                Some(Place { axis: 0, before: 1, .. }) => Ok(node),
                _ => Err(op::fail(&node, "takes the batch for channels or pixels")),
            },
            ArgMax | ArgMin | CumSum | LayerNormalization | TopK => self.apart(node, operator),
            _ => Ok(node),
        }
    }

    /// Constants that are joined element by element: those that have an entry for each of a picture's are
    /// repeated for each picture. The last `matrix` axes are those of a product.
    fn broadcast(&mut self, mut node: NodeProto, matrix: usize) -> Result<NodeProto> {
        let carrying = (0..node.input.len()).find_map(|i| Some((i, self.place(&node, i)?)));
        let Some((first, place)) = carrying else { return Ok(node) };
        let rank = self.sizes(&node, &node.input[first])?.len() + usize::from(place.hidden);
        let from_right = rank - place.axis;
        if from_right <= matrix {
            return Ok(node);
        }
        let times = self.times(&node, first).unwrap_or(1);
        let matrices = if node.operator() == Some(Operator::Gemm) { 2 } else { 0 };
        for i in matrices..node.input.len() {
            let Some(name) = node.input_name(i).filter(|_| self.place(&node, i).is_none()) else { continue };
            let (name, sizes) = (name.to_string(), self.sizes(&node, name)?);
            let Some(axis) = sizes.len().checked_sub(from_right) else { continue };
            if sizes[axis] != 1 {
                node.input[i] = self.repeated(&node, &name, (axis, times), place, times > 1)?;
            }
        }
        Ok(node)
    }

    /// Constants that are joined along another axis: repeated for each picture.
    fn joined(&mut self, mut node: NodeProto) -> Result<NodeProto> {
        let carrying = (0..node.input.len()).find_map(|i| Some((i, self.place(&node, i)?)));
        let Some((first, place)) = carrying else { return Ok(node) };
        let rank = self.sizes(&node, &node.input[first])?.len();
        let axis = self.axis(&node, node.int_or("axis", 0), rank)?;
        if place.hidden {
            if (0..node.input.len()).any(|i| self.place(&node, i).is_none_or(|place| !place.hidden)) {
                return Err(op::fail(&node, "joins values with and without a batch axis"));
            }
            set_int(&mut node, "axis", axis as i64 + 1);
            return Ok(node);
        }
        if axis == place.axis {
            return Err(op::fail(&node, "joins the pictures of a batch with something else"));
        }
        let times = self.times(&node, first).unwrap_or(1);
        for i in 0..node.input.len() {
            let Some(name) = node.input_name(i).filter(|_| self.place(&node, i).is_none()) else { continue };
            let name = name.to_string();
            node.input[i] = self.repeated(&node, &name, (place.axis, times), place, true)?;
        }
        Ok(node)
    }

    /// `Expand` to a list that holds the fixed batch: 1 keeps what is there.
    fn expanded(&mut self, mut node: NodeProto) -> Result<NodeProto> {
        let Some(place) = self.place(&node, 0).filter(|place| !place.hidden) else { return Ok(node) };
        let output = node.output.first().cloned().unwrap_or_default();
        let results = self.infer(&node)?;
        let fits = |known: &Type| self.placed(&node, &output, known, place.before).is_ok();
        if results.first().is_some_and(fits) {
            return Ok(node);
        }
        let (from, to) = (self.sizes(&node, &node.input[0])?, self.sizes(&node, &output)?);
        let mut target: Vec<i64> = to.iter().map(|&size| size as i64).collect();
        target[to.len() - from.len() + place.axis] = 1;
        self.changed(&node);
        node.input[1] = self.list(&node, "any-batch", &target);
        Ok(node)
    }

    /// `Gather` of the one picture there is: the picture.
    fn gathered(&mut self, mut node: NodeProto) -> Result<NodeProto> {
        let Some(place) = self.place(&node, 0) else { return Ok(node) };
        let sizes = self.sizes(&node, &node.input[0])?;
        let axis = self.axis(&node, node.int_or("axis", 0), sizes.len())?;
        if place.hidden {
            if self.place(&node, 1).is_some() {
                return Err(op::fail(&node, "reads values that have lost their batch axis"));
            }
            set_int(&mut node, "axis", axis as i64 + 1);
            return Ok(node);
        }
        if axis != place.axis {
            return Ok(node);
        }
        let picked = self.fixed.get(&node.input[1]).and_then(|known| known.value.clone());
        let first =
            picked.as_ref().is_some_and(|p| p.len() == 1 && p.iter().all(|i| i.is(0.0) || i.is(-1.0)));
        let rank = picked.map_or(2, |p| p.ndim());
        match sizes[place.axis] == 1 && first && (rank == 1 || rank == 0 && place.axis == 0) {
            true => Ok(self.untouched(&node)),
            false => Err(op::fail(&node, "picks some pictures of a batch")),
        }
    }

    /// `Transpose` of a value with a batch axis before the others.
    fn turned(&self, mut node: NodeProto) -> NodeProto {
        let rank = self.fixed.get(&node.input[0]).and_then(Type::sizes).map_or(0, |sizes| sizes.len());
        let perm = node.ints("perm").map_or_else(|| (0..rank as i64).rev().collect(), <[i64]>::to_vec);
        let perm = std::iter::once(0).chain(perm.into_iter().map(|axis| axis + 1)).collect();
        node.attribute = vec![AttributeProto::ints("perm", perm)];
        node
    }

    /// `Slice` of the whole batch: all of it.
    fn sliced(&mut self, node: NodeProto) -> Result<NodeProto> {
        let Some(place) = self.place(&node, 0) else { return Ok(node) };
        let output = node.output.first().cloned().unwrap_or_default();
        let fits = |known: &Type| self.placed(&node, &output, known, place.before).is_ok();
        if self.infer(&node)?.first().is_some_and(fits) {
            return Ok(node);
        }
        let same = self.sizes(&node, &node.input[0])? == self.sizes(&node, &output)?;
        Ok(if same { self.untouched(&node) } else { node })
    }

    /// A reduction over the one picture there is leaves it.
    fn reduced(&mut self, mut node: NodeProto) -> Result<NodeProto> {
        let Some(place) = self.place(&node, 0) else { return Ok(node) };
        let sizes = self.sizes(&node, &node.input[0])?;
        let listed = match node.ints("axes") {
            Some(list) => list.to_vec(),
            None => match node.input_name(1) {
                Some(name) => self.integers(&node, name)?,
                None => Vec::new(),
            },
        };
        let mut axes = match listed.is_empty() {
            true if node.flag("noop_with_empty_axes") => return Ok(node),
            true => (0..sizes.len()).collect(),
            false => listed.iter().map(|&a| self.axis(&node, a, sizes.len())).collect::<Result<Vec<_>>>()?,
        };
        if place.hidden {
            axes.iter_mut().for_each(|axis| *axis += 1);
        } else if axes.contains(&place.axis) {
            let lost = node.int_or("keepdims", 1) == 0;
            if sizes[place.axis] != 1 || lost && place.axis != 0 {
                return Err(op::fail(&node, "sums up the pictures of a batch"));
            }
            axes.retain(|axis| *axis != place.axis);
            let keeps = matches!(
                node.op_type(),
                "ReduceMax" | "ReduceMean" | "ReduceMin" | "ReduceProd" | "ReduceSum"
            );
            if axes.is_empty() {
                return match keeps {
                    true => Ok(self.untouched(&node)),
                    false => Err(op::fail(&node, "computes across the pictures of a batch")),
                };
            }
        } else {
            return Ok(node);
        }
        self.changed(&node);
        let axes: Vec<i64> = axes.into_iter().map(|axis| axis as i64).collect();
        let since = if node.op_type() == "ReduceSum" { 13 } else { 18 };
        if version_at(node.op_type(), self.opset).is_some_and(|version| version >= since) {
            let list = self.list(&node, "axes", &axes);
            node.input.truncate(1);
            node.input.push(list);
        } else {
            node.attribute.retain(|a| a.name() != "axes");
            node.attribute.push(AttributeProto::ints("axes", axes));
        }
        Ok(node)
    }

    /// `Softmax` and its kin, along another axis than that of the batch.
    fn along(&mut self, mut node: NodeProto, operator: Operator) -> Result<NodeProto> {
        let Some(place) = self.place(&node, 0) else { return Ok(node) };
        let flat = operator != Operator::LpNormalization && self.opset < 13;
        if place.hidden {
            let axis = node.int_or("axis", if flat { 1 } else { -1 });
            if flat {
                return Err(op::fail(&node, "reads a value that has lost its batch axis"));
            }
            set_int(&mut node, "axis", if axis < 0 { axis } else { axis + 1 });
            return Ok(node);
        }
        self.apart(node, operator)
    }

    /// A node that computes along an axis, or along all from it on, which must not be that of the batch.
    fn apart(&mut self, node: NodeProto, operator: Operator) -> Result<NodeProto> {
        use Operator::{ArgMax, ArgMin, CumSum, LayerNormalization, LogSoftmax, Softmax};
        let Some(place) = self.place(&node, 0) else { return Ok(node) };
        let rank = self.sizes(&node, &node.input[0])?.len();
        let all_from =
            operator == LayerNormalization || matches!(operator, Softmax | LogSoftmax) && self.opset < 13;
        let default = match operator {
            ArgMax | ArgMin => 0,
            Softmax | LogSoftmax if self.opset < 13 => 1,
            _ => -1,
        };
        let told = match operator {
            CumSum => self.integers(&node, node.input_name(1).unwrap_or_default())?.first().copied(),
            _ => None,
        };
        let axis = self.axis(&node, told.unwrap_or_else(|| node.int_or("axis", default)), rank)?;
        match axis == place.axis || all_from && axis < place.axis {
            true => Err(op::fail(&node, "computes across the pictures of a batch")),
            false => Ok(node),
        }
    }

    /// The value itself in place of a node that does nothing to one picture.
    fn untouched(&mut self, node: &NodeProto) -> NodeProto {
        self.changed(node);
        NodeProto {
            input: vec![node.input[0].clone()],
            op_type: Some("Identity".into()),
            attribute: Vec::new(),
            ..node.clone()
        }
    }

    fn integers(&self, node: &NodeProto, name: &str) -> Result<Vec<i64>> {
        let value = self.fixed.get(name).and_then(|known| known.value.as_ref());
        let list = value.and_then(|v| v.iter().map(|d| d.number().map(|x| x as i64)).collect());
        list.ok_or_else(|| op::fail(node, format!("{name} cannot be told before the model runs")))
    }

    fn axis(&self, node: &NodeProto, axis: i64, rank: usize) -> Result<usize, Error> {
        let from_front = if axis < 0 { axis + rank as i64 } else { axis };
        let found = usize::try_from(from_front).ok().filter(|axis| *axis < rank);
        found.ok_or_else(|| op::fail(node, format!("axis {axis} of a tensor with {rank} axes")))
    }
}

/// Whether a `Squeeze` of one picture takes its batch axis away.
fn squeezes_batch(place: &Place, to: &[usize], places: &[Place], batch: usize) -> bool {
    let alone = places.iter().any(|p| !p.hidden && p.before == 1 && to.get(p.axis) == Some(&batch));
    batch == 1 && !place.hidden && place.axis == 0 && place.before == 1 && !to.is_empty() && !alone
}

fn set_int(node: &mut NodeProto, name: &str, value: i64) {
    node.attribute.retain(|a| a.name() != name);
    node.attribute.push(AttributeProto::int(name, value));
}
