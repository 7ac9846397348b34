//! From drafts to a program: borders, types and places are settled, weights packed.

use super::draft::{Draft, MapDraft, Op, Pool, Product, Value, nothing};
use super::group::grouped;
use super::kernels::{Finish, Kernels, Packed, Pixels};
use super::lower::Lowering;
use super::map::Map;
use super::program::{Action, Program, Step, Weights};
use super::winograd::{self, Winograd};

/// Makes a program that gives the outputs; none if it would have no product, or be too large.
pub fn link(lowering: Lowering<'_>, outputs: &[Value], kernels: &'static Kernels) -> Option<Program> {
    let mut linker = Linker { kernels, maps: maps(&lowering) };
    let outputs: Vec<usize> = outputs.iter().map(|v| v.map).collect();
    let needed = needed(&lowering.drafts, &outputs);
    let mut steps = Vec::new();
    for draft in lowering.drafts.into_iter().zip(needed).filter_map(|(d, needed)| needed.then_some(d)) {
        steps.extend(linker.step(draft)?);
    }
    let useful = steps.iter().any(|s: &Step| s.action.is_product());
    useful.then(|| grouped(Program { kernels, maps: linker.maps, steps, outputs, images: 1 }))
}

fn maps(lowering: &Lowering<'_>) -> Vec<Map> {
    let map = |m: &MapDraft| Map {
        channels: m.channels,
        size: m.size,
        border: m.border,
        bytes: m.bytes(),
        images: 1,
    };
    lowering.maps.iter().map(map).collect()
}

/// Which drafts the outputs depend on.
fn needed(drafts: &[Draft], outputs: &[usize]) -> Vec<bool> {
    let mut maps = vec![false; drafts.len() + 1];
    outputs.iter().for_each(|o| maps[*o] = true);
    for draft in drafts.iter().rev().filter(|d| d.to > 0) {
        if maps[draft.to] {
            maps[draft.from] = true;
            draft.beside.iter().for_each(|b| maps[*b] = true);
        }
    }
    drafts.iter().map(|d| maps[d.to]).collect()
}

/// In which order a step fills its map.
#[derive(Clone, Copy)]
enum Order {
    Pixels,
    Rows,
    Tiles,
}

struct Linker {
    kernels: &'static Kernels,
    maps: Vec<Map>,
}

impl Linker {
    /// The step of a draft, after one that changes the type of its input where it must.
    fn step(&mut self, draft: Draft) -> Option<Vec<Step>> {
        let Draft { name, op, from, beside, to, finish, .. } = draft;
        let mut steps = Vec::new();
        let mut from = from;
        if matches!(&op, Op::Product(p) if p.integers_to.is_none()) && self.maps[from].bytes {
            let widened = self.widened(&name, from)?;
            from = widened.to;
            steps.push(widened);
        }
        let order = match &op {
            Op::Each | Op::Sigmoid | Op::UnitLength(_) => Order::Rows,
            Op::Product(product) if product.tiled => Order::Tiles,
            _ => Order::Pixels,
        };
        let places = |map: usize| match order {
            Order::Pixels => self.maps[map].pixels(),
            Order::Rows => self.maps[map].rows(),
            Order::Tiles => self.maps[map].places(winograd::pixels(self.maps[map].size)),
        };
        let beside = match beside {
            Some(map) => Some((map, places(map)?)),
            None => None,
        };
        let at = places(to)?;
        let windows = self.windows(&op, from, to)?;
        let action = self.action(op, from, to, finish)?;
        steps.push(Step { name, action, from, windows, beside, to, at, images: 1 });
        Some(steps)
    }

    fn action(&self, op: Op, from: usize, to: usize, finish: Finish) -> Option<Action> {
        let finish = self.limited(finish, to);
        Some(match op {
            Op::Product(product) => self.product(&product, to, finish),
            Op::Each => Action::Each(self.repeated(&finish, from)),
            Op::Max(pool) => Action::Max(self.taps(pool, from)?),
            Op::Mean(pool) => {
                let taps = self.taps(pool, from)?;
                Action::Mean { divisor: taps.len() as f32, taps }
            }
            Op::Sum(pool) => Action::Mean { divisor: 1.0, taps: self.taps(pool, from)? },
            Op::Sigmoid => Action::Sigmoid,
            Op::UnitLength(epsilon) => Action::UnitLength(epsilon),
        })
    }

    /// The limits that the type of the map sets; what is known of its elements keeps within them.
    fn limited(&self, mut finish: Finish, to: usize) -> Finish {
        if self.maps[to].bytes {
            finish.low = finish.low.max(0.0);
            finish.high = finish.high.min(255.0);
        }
        finish
    }

    /// Each row as one pixel with W·C channels.
    fn repeated(&self, finish: &Finish, map: usize) -> Finish {
        let width = self.maps[map].size[1];
        Finish { scale: finish.scale.repeat(width), shift: finish.shift.repeat(width), ..finish.clone() }
    }

    /// A step that turns uint8 into float32, with the same border.
    fn widened(&mut self, name: &str, from: usize) -> Option<Step> {
        let map = Map { bytes: false, ..self.maps[from].clone() };
        let to = self.maps.len();
        let finish = self.repeated(&nothing(map.channels), from);
        self.maps.push(map);
        let (windows, at) = (self.maps[from].rows()?, self.maps[to].rows()?);
        let name = format!("{name} (to float32)");
        Some(Step { name, action: Action::Each(finish), from, windows, beside: None, to, at, images: 1 })
    }

    /// Where what a step reads begins: windows, tiles or rows.
    fn windows(&self, op: &Op, from: usize, to: usize) -> Option<Pixels> {
        let (map, size) = (&self.maps[from], self.maps[to].size);
        let [top, left, ..] = map.border;
        match op {
            Op::Product(p) => {
                let origin = [top.checked_sub(p.pads[0])?, left.checked_sub(p.pads[1])?];
                if !p.tiled {
                    return map.windows(origin, size, p.strides);
                }
                let at = |[y, x]: [usize; 2]| map.at(y + origin[0], x + origin[1]);
                Pixels::new(&winograd::tiles(size).map(at).collect::<Vec<_>>())
            }
            Op::Max(pool) | Op::Mean(pool) | Op::Sum(pool) => map.windows([top, left], size, pool.strides),
            Op::Each | Op::Sigmoid | Op::UnitLength(_) => map.rows(),
        }
    }

    fn product(&self, p: &Product, to: usize, finish: Finish) -> Action {
        let Map { channels, size, .. } = self.maps[to];
        let [kh, kw] = p.kernel;
        let run = kw * p.inputs;
        let weight = |o: usize, row: usize, i: usize| p.weights[(o * kh + row) * run + i];
        if p.tiled {
            let weight = |o, y, x, i| weight(o, y, x * p.inputs + i);
            let weights = Winograd::new(self.kernels, [p.inputs, channels], size, weight);
            return Action::Winograd { weights, finish };
        }
        let weights = match p.integers_to {
            Some(highest) => {
                let integer = |o, row, i| weight(o, row, i) as i8;
                Weights::Int(Packed::new(self.kernels, highest, channels, [kh, run], integer))
            }
            None => Weights::Float(Packed::new(self.kernels, 0, channels, [kh, run], weight)),
        };
        Action::Product { weights, finish }
    }

    /// From the beginning of a pool's window to each of its pixels.
    fn taps(&self, pool: Pool, from: usize) -> Option<Vec<u32>> {
        let [kh, kw] = pool.kernel;
        let taps = (0..kh).flat_map(|y| (0..kw).map(move |x| (y, x)));
        taps.map(|(y, x)| u32::try_from(self.maps[from].at(y, x)).ok()).collect()
    }
}
