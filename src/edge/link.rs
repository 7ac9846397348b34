//! From drafts to a program: borders, types and places are settled, weights packed.

use super::coverage::Why;
use super::draft::{ActionDraft, MapDraft, PoolDraft, ProductDraft, StepDraft};
use super::group::grouped;
use super::kernels::{Epilogue, Kernels, Offsets, Packed};
use super::map::Map;
use super::program::{Action, Program, Step, Weights};
use super::winograd::{self, Winograd};

/// Makes a program that fills the maps of its outputs; none if it would have no product, or be too large.
pub fn link(
    maps: &[MapDraft],
    drafts: Vec<StepDraft>,
    outputs: Vec<usize>,
    kernels: &'static Kernels,
) -> Result<Program, Why> {
    let needed = needed(&drafts, &outputs);
    let mut linker = Linker { kernels, maps: maps.iter().map(map).collect() };
    let mut steps = Vec::new();
    for draft in drafts.into_iter().zip(needed).filter_map(|(d, needed)| needed.then_some(d)) {
        steps.extend(linker.step(draft).ok_or(Why::TooLarge)?);
    }
    let useful = steps.iter().any(|s: &Step| s.action.is_product());
    let program = Program { kernels, maps: linker.maps, steps, outputs, images: 1 };
    if useful { Ok(grouped(program)) } else { Err(Why::NoProduct) }
}

fn map(m: &MapDraft) -> Map {
    Map { channels: m.channels, size: m.size, border: m.border, bytes: m.bytes(), images: 1 }
}

/// Which drafts the outputs depend on.
fn needed(drafts: &[StepDraft], outputs: &[usize]) -> Vec<bool> {
    let mut maps = vec![false; drafts.len() + 1];
    outputs.iter().for_each(|o| maps[*o] = true);
    for draft in drafts.iter().rev().filter(|d| d.to > 0) {
        if maps[draft.to] {
            maps[draft.from] = true;
            draft.residual.iter().for_each(|b| maps[*b] = true);
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
    fn step(&mut self, draft: StepDraft) -> Option<Vec<Step>> {
        let StepDraft { name, action, from, residual, to, epilogue, .. } = draft;
        let mut steps = Vec::new();
        let mut from = from;
        if matches!(&action, ActionDraft::Product(p) if p.integers_to.is_none()) && self.maps[from].bytes {
            let widened = self.widened(&name, from)?;
            from = widened.to;
            steps.push(widened);
        }
        let order = match &action {
            ActionDraft::Elementwise | ActionDraft::Sigmoid | ActionDraft::UnitLength(_) => Order::Rows,
            ActionDraft::Product(product) if product.tiled => Order::Tiles,
            _ => Order::Pixels,
        };
        let places = |map: usize| match order {
            Order::Pixels => self.maps[map].pixels(),
            Order::Rows => self.maps[map].rows(),
            Order::Tiles => self.maps[map].places(winograd::pixels(self.maps[map].size)),
        };
        let residual = match residual {
            Some(map) => Some((map, places(map)?)),
            None => None,
        };
        let at = places(to)?;
        let windows = self.windows(&action, from, to)?;
        let action = self.action(action, from, to, epilogue)?;
        steps.push(Step { name, action, from, windows, residual, to, at, images: 1 });
        Some(steps)
    }

    fn action(&self, action: ActionDraft, from: usize, to: usize, epilogue: Epilogue) -> Option<Action> {
        let epilogue = self.limited(epilogue, to);
        Some(match action {
            ActionDraft::Product(product) => self.product(&product, to, epilogue),
            ActionDraft::Elementwise => Action::Elementwise(self.repeated(&epilogue, from)),
            ActionDraft::Max(pool) => Action::MaxPool(self.taps(pool, from)?),
            ActionDraft::Mean(pool) => {
                let taps = self.taps(pool, from)?;
                Action::MeanPool { divisor: taps.len() as f32, taps }
            }
            ActionDraft::Sum(pool) => Action::MeanPool { divisor: 1.0, taps: self.taps(pool, from)? },
            ActionDraft::Sigmoid => Action::Sigmoid,
            ActionDraft::UnitLength(epsilon) => Action::UnitLength(epsilon),
        })
    }

    /// The limits that the type of the map sets; what is known of its elements keeps within them.
    fn limited(&self, mut epilogue: Epilogue, to: usize) -> Epilogue {
        if self.maps[to].bytes {
            epilogue.low = epilogue.low.max(0.0);
            epilogue.high = epilogue.high.min(255.0);
        }
        epilogue
    }

    /// Each row as one pixel with W·C channels.
    fn repeated(&self, epilogue: &Epilogue, map: usize) -> Epilogue {
        let width = self.maps[map].size[1];
        Epilogue {
            scale: epilogue.scale.repeat(width),
            shift: epilogue.shift.repeat(width),
            ..epilogue.clone()
        }
    }

    /// A step that turns uint8 into float32, with the same border.
    fn widened(&mut self, name: &str, from: usize) -> Option<Step> {
        let map = Map { bytes: false, ..self.maps[from].clone() };
        let to = self.maps.len();
        let epilogue = self.repeated(&Epilogue::identity(map.channels), from);
        self.maps.push(map);
        let (windows, at) = (self.maps[from].rows()?, self.maps[to].rows()?);
        let name = format!("{name} (to float32)");
        Some(Step {
            name,
            action: Action::Elementwise(epilogue),
            from,
            windows,
            residual: None,
            to,
            at,
            images: 1,
        })
    }

    /// Where what a step reads begins: windows, tiles or rows.
    fn windows(&self, action: &ActionDraft, from: usize, to: usize) -> Option<Offsets> {
        let (map, size) = (&self.maps[from], self.maps[to].size);
        let [top, left, ..] = map.border;
        match action {
            ActionDraft::Product(p) => {
                let origin = [top.checked_sub(p.pads[0])?, left.checked_sub(p.pads[1])?];
                if !p.tiled {
                    return map.windows(origin, size, p.strides);
                }
                let at = |[y, x]: [usize; 2]| map.at(y + origin[0], x + origin[1]);
                Offsets::new(&winograd::tiles(size).map(at).collect::<Vec<_>>())
            }
            ActionDraft::Max(pool) | ActionDraft::Mean(pool) | ActionDraft::Sum(pool) => {
                map.windows([top, left], size, pool.strides)
            }
            ActionDraft::Elementwise | ActionDraft::Sigmoid | ActionDraft::UnitLength(_) => map.rows(),
        }
    }

    fn product(&self, p: &ProductDraft, to: usize, epilogue: Epilogue) -> Action {
        let Map { channels, size, .. } = self.maps[to];
        let [kh, kw] = p.kernel;
        let run = kw * p.inputs;
        let weight = |o: usize, row: usize, i: usize| p.weights[(o * kh + row) * run + i];
        if p.tiled {
            let weight = |o, y, x, i| weight(o, y, x * p.inputs + i);
            let weights = Winograd::new(self.kernels, [p.inputs, channels], size, weight);
            return Action::Winograd { weights, epilogue };
        }
        let weights = match p.integers_to {
            Some(highest) => {
                let integer = |o, row, i| weight(o, row, i) as i8;
                Weights::Int(Packed::new(self.kernels, highest, channels, [kh, run], integer))
            }
            None => Weights::Float(Packed::new(self.kernels, 0, channels, [kh, run], weight)),
        };
        Action::Product { weights, epilogue }
    }

    /// From the beginning of a pool's window to each of its pixels.
    fn taps(&self, pool: PoolDraft, from: usize) -> Option<Vec<u32>> {
        let [kh, kw] = pool.kernel;
        let taps = (0..kh).flat_map(|y| (0..kw).map(move |x| (y, x)));
        taps.map(|(y, x)| u32::try_from(self.maps[from].at(y, x)).ok()).collect()
    }
}
