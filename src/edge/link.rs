//! From drafts to a program: borders, types and places are settled, weights packed.

use super::draft::{Draft, MapDraft, Op, Pool, Product, Value, nothing};
use super::kernels::{Finish, Kernels, Packed, Pixels};
use super::lower::Lowering;
use super::program::{Action, Map, Program, Step, Weights};

/// Makes a program that gives the outputs; none if it would have no product, or be too large.
pub fn link(lowering: Lowering<'_>, outputs: &[Value], kernels: &'static Kernels) -> Option<Program> {
    let mut linker = Linker { kernels, maps: maps(&lowering) };
    let outputs: Vec<usize> = outputs.iter().map(|v| v.map).collect();
    let needed = needed(&lowering.drafts, &outputs);
    let mut steps = Vec::new();
    for draft in lowering.drafts.into_iter().zip(needed).filter_map(|(d, needed)| needed.then_some(d)) {
        steps.extend(linker.step(draft)?);
    }
    let useful = steps.iter().any(|s| matches!(s.action, Action::Product { .. }));
    useful.then_some(Program { kernels, maps: linker.maps, steps, outputs })
}

fn maps(lowering: &Lowering<'_>) -> Vec<Map> {
    let map = |m: &MapDraft| Map { channels: m.channels, size: m.size, border: m.border, bytes: m.bytes() };
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
        let finish = self.limited(finish, to);
        let by_rows = matches!(op, Op::Each);
        let action = match op {
            Op::Product(product) => {
                if product.integers_to.is_none() && self.maps[from].bytes {
                    let widened = self.widened(&name, from)?;
                    from = widened.to;
                    steps.push(widened);
                }
                self.product(&product, from, to, finish)?
            }
            Op::Each => Action::Each { rows: self.rows(from)?, finish: self.repeated(&finish, from) },
            Op::Max(pool) => {
                let (windows, taps) = self.windows(pool, from, to)?;
                Action::Max { windows, taps }
            }
            Op::Mean(pool) => {
                let (windows, taps) = self.windows(pool, from, to)?;
                Action::Mean { windows, divisor: taps.len() as f32, taps }
            }
            Op::Sum(pool) => {
                let (windows, taps) = self.windows(pool, from, to)?;
                Action::Mean { windows, divisor: 1.0, taps }
            }
            Op::Sigmoid => Action::Sigmoid,
            Op::UnitLength(epsilon) => Action::UnitLength(epsilon),
        };
        let places = |map: usize| if by_rows { self.rows(map) } else { self.maps[map].pixels() };
        let beside = match beside {
            Some(map) => Some((map, places(map)?)),
            None => None,
        };
        steps.push(Step { name, action, from, beside, at: places(to)?, to });
        Some(steps)
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

    fn rows(&self, map: usize) -> Option<Pixels> {
        let map = &self.maps[map];
        map.windows([map.border[0], map.border[1]], [map.size[0], 1], [1, 1])
    }

    /// A step that turns uint8 into float32, with the same border.
    fn widened(&mut self, name: &str, from: usize) -> Option<Step> {
        let map = Map { bytes: false, ..self.maps[from].clone() };
        let to = self.maps.len();
        let finish = self.repeated(&nothing(map.channels), from);
        self.maps.push(map);
        let (rows, at) = (self.rows(from)?, self.rows(to)?);
        let name = format!("{name} (to float32)");
        Some(Step { name, action: Action::Each { rows, finish }, from, beside: None, to, at })
    }

    fn product(&self, p: &Product, from: usize, to: usize, finish: Finish) -> Option<Action> {
        let (map, channels) = (&self.maps[from], self.maps[to].channels);
        let [kh, kw] = p.kernel;
        let run = kw * p.inputs;
        let weight = |o: usize, row: usize, i: usize| p.weights[(o * kh + row) * run + i];
        let weights = match p.integers_to {
            Some(highest) => {
                let integer = |o, row, i| weight(o, row, i) as i8;
                Weights::Int(Packed::new(self.kernels, highest, channels, [kh, run], integer))
            }
            None => Weights::Float(Packed::new(self.kernels, 0, channels, [kh, run], weight)),
        };
        let origin = [map.border[0].checked_sub(p.pads[0])?, map.border[1].checked_sub(p.pads[1])?];
        let windows = map.windows(origin, self.maps[to].size, p.strides)?;
        Some(Action::Product { weights, windows, finish })
    }

    fn windows(&self, pool: Pool, from: usize, to: usize) -> Option<(Pixels, Vec<u32>)> {
        let map = &self.maps[from];
        let windows = map.windows([map.border[0], map.border[1]], self.maps[to].size, pool.strides)?;
        let [kh, kw] = pool.kernel;
        let taps = (0..kh).flat_map(|y| (0..kw).map(move |x| (y, x)));
        let taps = taps.map(|(y, x)| u32::try_from(map.at(y, x)).ok()).collect::<Option<_>>()?;
        Some((windows, taps))
    }
}
