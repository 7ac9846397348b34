//! From drafts to a program: borders, types and places are settled, weights packed.

mod products;

use super::copy::{Copying, begin, units};
use super::coverage::Why;
use super::draft::{ActionDraft, Geometry, MapDraft, MapsDraft, Pooling, Samples, StepDraft, Way};
use super::group::grouped;
use super::kernels::{Epilogue, Extent, IntegerGate, Kernels, Line, Matrix, Offsets, Sampling, Table};
use super::map::Map;
use super::memory::{Memory, assigned};
use super::program::{Action, Function8, Pool, Program, Step};
use super::view::View;
use super::winograd;

/// Makes a program that fills the maps of its outputs; none if it would have no product, or be too large.
pub fn link(
    maps: &[MapDraft],
    drafts: Vec<StepDraft>,
    outputs: Vec<usize>,
    kernels: &'static Kernels,
) -> Result<Program, Why> {
    let needed = needed(maps.len(), &drafts, &outputs);
    let mut linker = Linker { kernels, maps: maps.iter().map(map).collect() };
    drafts.iter().filter(|d| needed[d.to] && read_as_floats(d.to, &drafts)).for_each(|d| {
        // Else it would be copied to another map of floats.
        linker.maps[d.to].bytes = false;
    });
    let mut steps = Vec::new();
    for draft in drafts.into_iter().filter(|d| needed[d.to]) {
        steps.extend(linker.step(draft).ok_or(Why::TooLarge)?);
    }
    let constants = maps.iter().enumerate().filter(|(i, _)| needed[*i]);
    let constants = constants.filter_map(|(i, m)| m.constant.clone().map(|c| (i, c))).collect();
    let useful = steps.iter().any(|s: &Step| s.action.is_product());
    let memory = Memory::default();
    let program = Program { kernels, maps: linker.maps, constants, memory, steps, outputs, images: 1 };
    if useful { Ok(assigned(grouped(program))) } else { Err(Why::NoProduct) }
}

fn map(m: &MapDraft) -> Map {
    let lift = m.lift.clone();
    Map { channels: m.channels, size: m.size, border: m.border, bytes: m.bytes(), lift, images: 1 }
}

/// Which maps the outputs depend on.
fn needed(maps: usize, drafts: &[StepDraft], outputs: &[usize]) -> Vec<bool> {
    let mut needed = vec![false; maps];
    outputs.iter().for_each(|o| needed[*o] = true);
    for draft in drafts.iter().rev() {
        if needed[draft.to] {
            let reads = [Some(draft.from), draft.other, draft.residual];
            reads.into_iter().flatten().for_each(|map| needed[map] = true);
        }
    }
    needed
}

/// Whether a step could as well store floats into a map, and all that read it want floats.
fn read_as_floats(map: usize, drafts: &[StepDraft]) -> bool {
    let filled = drafts.iter().filter(|d| d.to == map).all(|d| d.action.has_epilogue());
    let mut readers = drafts.iter().filter(|d| d.from == map || d.other == Some(map)).peekable();
    filled && readers.peek().is_some() && readers.all(|d| !d.action.takes_bytes())
}

/// How many bytes there are.
const BYTES: usize = 256;

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
    /// The step of a draft, after those that change the type of its inputs where they must.
    fn step(&mut self, draft: StepDraft) -> Option<Vec<Step>> {
        let StepDraft {
            name,
            action,
            mut from,
            mut other,
            mut residual,
            to,
            mut epilogue,
            function,
            strict,
            ..
        } = draft;
        let mut steps = Vec::new();
        let operands =
            [(Some(&mut from), action.takes_bytes()), (other.as_mut(), action.takes_other_bytes())];
        for (map, takes) in operands.into_iter().filter_map(|(map, takes)| Some((map?, takes))) {
            let own = &self.maps[*map];
            let taken = takes && (own.lift.is_empty() || action.takes_lifted());
            if own.bytes && !taken {
                steps.push(self.widened(&name, map)?);
            }
        }
        if let Some(map) = &mut residual {
            let lift = &self.maps[*map].lift;
            if lift.windows(2).any(|pair| pair[0] != pair[1]) {
                // What is added is moved back by one number for all channels.
                steps.push(self.widened(&name, map)?);
            }
            epilogue.residual_lift = self.maps[*map].lift.first().map_or(0.0, |up| f32::from(*up));
        }
        let order = order(&action);
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
        let other = match other {
            Some(map) => Some((map, self.operand(&action, map, &at)?)),
            None => None,
        };
        let function = function.map(|f| match order {
            Order::Rows => f.repeated(self.maps[to].size[1]),
            Order::Pixels | Order::Tiles => f,
        });
        let action = self.action(
            action,
            [from, to],
            other.as_ref().map(|(map, _)| *map),
            strict,
            residual.is_some(),
            epilogue,
        )?;
        let step =
            Step { name, action, from, windows, other, residual, function, to, at, clears: false, images: 1 };
        steps.push(step);
        Some(steps)
    }

    /// Where the runs of a second operand begin, one for each place of the result.
    fn operand(&self, action: &ActionDraft, map: usize, at: &Offsets) -> Option<Offsets> {
        let own = &self.maps[map];
        match action {
            ActionDraft::Combine { spread: true, .. } | ActionDraft::Gate { .. } => {
                Offsets::new(&vec![own.at(own.border[0], own.border[1]); at.all().len()])
            }
            ActionDraft::Maps(MapsDraft { right, .. }) => {
                let matrices = right.axes(0..right.rank() - 2);
                let corner = own.at(own.border[0], own.border[1]);
                let places = matrices.places(units(own)).into_iter().map(|place| corner + place);
                Offsets::new(&places.collect::<Vec<_>>())
            }
            _ => own.rows(),
        }
    }

    fn action(
        &self,
        action: ActionDraft,
        [from, to]: [usize; 2],
        other: Option<usize>,
        strict: bool,
        residual: bool,
        epilogue: Epilogue,
    ) -> Option<Action> {
        let mut epilogue = self.limited(epilogue, to);
        let map = &self.maps[from];
        Some(match action {
            ActionDraft::Product(product) => {
                self.product(&product, [from, to], strict, residual, epilogue)?
            }
            ActionDraft::Maps(MapsDraft { left, right }) => {
                return self.maps((&left, &right), &self.maps[other?], epilogue);
            }
            ActionDraft::Elementwise => {
                epilogue.before = map.taken_back();
                match self.copied_bytes(&epilogue, [from, to], residual) {
                    Some(copying) => Action::Copy(copying),
                    None => Action::Elementwise(self.repeated(&epilogue, from)),
                }
            }
            ActionDraft::Gate { by, narrowed, most } => {
                epilogue.before = map.taken_back();
                let most = most.filter(|_| map.bytes && self.maps[to].bytes);
                let integers = most.and_then(|most| IntegerGate::of(&epilogue, by, narrowed, most));
                Action::Gate { by, narrowed, epilogue, integers }
            }
            ActionDraft::Table(numbers) => Action::Table(self.table(&numbers, to)),
            ActionDraft::Combine { how, spread } => {
                Action::Combine { how, width: if spread { map.channels } else { map.channels * map.size[1] } }
            }
            ActionDraft::Pool(pooling, windows) => {
                let pool = Pool {
                    extents: extents(pooling, &windows, map.size)?,
                    strides: [map.at(windows.dilations[0], 0), map.at(0, windows.dilations[1])],
                    before: map.taken_back(),
                };
                match pooling {
                    Pooling::Max => Action::MaxPool(pool),
                    Pooling::Mean(_) | Pooling::Sum => Action::MeanPool(pool),
                }
            }
            ActionDraft::Copy { from: a, to: b } => {
                Action::Copy(Copying::new((map, &a), (&self.maps[to], &b))?)
            }
            ActionDraft::Resample([rows, columns]) => Action::Resample(Sampling {
                rows: line(rows, |y| map.at(y, 0))?,
                columns: line(columns, |x| map.at(0, x))?,
            }),
            ActionDraft::UnitLength(epsilon) => Action::UnitLength(epsilon),
            ActionDraft::Softmax => Action::Softmax,
            ActionDraft::LayerNorm(how) => Action::LayerNorm(how),
        })
    }

    /// The copy that an epilogue of bytes comes to where it changes none: an image less its levels is moved up by just these.
    fn copied_bytes(&self, how: &Epilogue, [from, to]: [usize; 2], residual: bool) -> Option<Copying> {
        let [from, to] = [&self.maps[from], &self.maps[to]];
        let of = |x: &[f32], c: usize| x.get(c).copied().unwrap_or(0.0);
        let same = |c: usize| {
            let (up, before) = (of(&how.lift, c), how.before.get(c).copied().unwrap_or(0) as f32);
            let inside = how.low <= -up && how.high >= 255.0 - up;
            how.scale[c] == 1.0 && before + how.shift[c] + up == 0.0 && inside
        };
        let bytes = from.bytes && to.bytes && !residual;
        if !bytes || !(0..from.channels).all(same) {
            return None;
        }
        let view = View::image(from.channels, from.size);
        Copying::new((from, &view), (to, &view))
    }

    /// A table of the type of the map that it fills, moved up as that is.
    fn table(&self, numbers: &[f32], to: usize) -> Function8 {
        let Map { bytes, lift, channels, .. } = &self.maps[to];
        let same = lift.windows(2).all(|pair| pair[0] == pair[1]);
        let tables = if same { numbers.len() / BYTES } else { *channels };
        let number = |c: usize, byte: usize| numbers[c * BYTES % numbers.len() + byte];
        let up = |c: usize| lift.get(c).map_or(0.0, |up| f32::from(*up));
        match bytes {
            true => Function8::Bytes(Table::new(tables, |c, byte| (number(c, byte) + up(c)) as u8)),
            false => Function8::Floats(Table::new(tables, number)),
        }
    }

    /// What the type of the map asks for: limits, within which what is known of its elements keeps, or to be moved up.
    fn limited(&self, mut epilogue: Epilogue, to: usize) -> Epilogue {
        let Map { bytes, lift, .. } = &self.maps[to];
        if *bytes && lift.is_empty() {
            epilogue.low = epilogue.low.max(0.0);
            epilogue.high = epilogue.high.min(255.0);
        }
        epilogue.lift = lift.iter().map(|up| f32::from(*up)).collect();
        epilogue
    }

    /// Each row as one pixel with W·C channels.
    fn repeated(&self, epilogue: &Epilogue, map: usize) -> Epilogue {
        let width = self.maps[map].size[1];
        Epilogue {
            before: epilogue.before.repeat(width),
            scale: epilogue.scale.repeat(width),
            shift: epilogue.shift.repeat(width),
            lift: epilogue.lift.repeat(width),
            ..epilogue.clone()
        }
    }

    /// A step that turns a map of uint8 into one of float32, with the same border, that takes its place.
    fn widened(&mut self, name: &str, map: &mut usize) -> Option<Step> {
        let from = std::mem::replace(map, self.maps.len());
        let to = *map;
        let own = &self.maps[from];
        let identity = Epilogue { before: own.taken_back(), ..Epilogue::identity(own.channels) };
        let epilogue = self.repeated(&identity, from);
        self.maps.push(Map { bytes: false, lift: Vec::new(), ..self.maps[from].clone() });
        let (windows, at) = (self.maps[from].rows()?, self.maps[to].rows()?);
        let name = format!("{name} (to float32)");
        Some(Step {
            name,
            action: Action::Elementwise(epilogue),
            from,
            windows,
            other: None,
            residual: None,
            function: None,
            to,
            at,
            clears: false,
            images: 1,
        })
    }

    /// Where what a step reads begins: windows, tiles or rows.
    fn windows(&self, action: &ActionDraft, from: usize, to: usize) -> Option<Offsets> {
        let (map, size) = (&self.maps[from], self.maps[to].size);
        let [top, left, ..] = map.border;
        match action {
            ActionDraft::Product(p) => {
                let Geometry { pads, strides, .. } = p.windows;
                let origin = [top.checked_sub(pads[0])?, left.checked_sub(pads[1])?];
                if p.way != Way::Tiles {
                    return map.windows(origin, size, strides);
                }
                let at = |[y, x]: [usize; 2]| map.at(y + origin[0], x + origin[1]);
                Offsets::new(&winograd::tiles(size).map(at).collect::<Vec<_>>())
            }
            ActionDraft::Maps(MapsDraft { left: view, .. }) => {
                let rows = view.axes(0..view.rank() - 1);
                let places = rows.places(units(map)).into_iter().map(|place| map.at(top, left) + place);
                Offsets::new(&places.collect::<Vec<_>>())
            }
            ActionDraft::Pool(_, windows) => {
                let seen =
                    |axis: usize| (0..size[axis]).map(move |place| inside(windows, axis, place, map.size));
                let begins = seen(0).flat_map(|(y, _)| seen(1).map(move |(x, _)| [y, x]));
                map.places(begins)
            }
            ActionDraft::Combine { spread: true, .. }
            | ActionDraft::Gate { .. }
            | ActionDraft::Softmax
            | ActionDraft::LayerNorm(_) => map.pixels(),
            ActionDraft::Copy { from, .. } => Offsets::new(&[begin((map, from))]),
            ActionDraft::Resample(_) => Offsets::new(&[map.at(top, left)]),
            ActionDraft::Elementwise
            | ActionDraft::Table(_)
            | ActionDraft::Combine { .. }
            | ActionDraft::UnitLength(_) => map.rows(),
        }
    }

    fn maps(&self, (left, right): (&View, &View), other: &Map, epilogue: Epilogue) -> Option<Action> {
        let (rank, shape) = (right.rank(), right.shape());
        let apart = |axis: usize| right.stride(axis, units(other));
        Some(Action::Maps {
            right: Matrix {
                size: [shape[rank - 2], shape[rank - 1]],
                strides: [apart(rank - 2)?, apart(rank - 1)?],
            },
            rows: left.shape()[rank - 2],
            epilogue,
        })
    }
}

/// Where the places of samples lie in memory.
fn line(samples: Samples, at: impl Fn(usize) -> usize) -> Option<Line> {
    let placed = |(place, weight): (usize, f32)| Some((u32::try_from(at(place)).ok()?, weight));
    samples.into_iter().map(|terms| terms.into_iter().map(placed).collect()).collect()
}

fn order(action: &ActionDraft) -> Order {
    match action {
        ActionDraft::Elementwise
        | ActionDraft::Table(_)
        | ActionDraft::UnitLength(_)
        | ActionDraft::Combine { spread: false, .. } => Order::Rows,
        ActionDraft::Product(product) if product.way == Way::Tiles => Order::Tiles,
        _ => Order::Pixels,
    }
}

/// Of a window along an axis: the first pixel that is inside the map, and how many are.
fn inside(windows: &Geometry, axis: usize, place: usize, size: [usize; 2]) -> (usize, usize) {
    let (dilation, pad) = (windows.dilations[axis], windows.pads[axis]);
    let start = place * windows.strides[axis];
    // In taps.
    let first = pad.saturating_sub(start).div_ceil(dilation);
    let end = (size[axis] + pad).saturating_sub(start).div_ceil(dilation).min(windows.kernel[axis]);
    ((start + first * dilation).saturating_sub(pad), end.saturating_sub(first))
}

/// What of each window is inside the map; none where nothing is.
fn extents(pooling: Pooling, windows: &Geometry, size: [usize; 2]) -> Option<Vec<Extent>> {
    // A tap that counts, though it may see padding.
    let counted = |axis: usize, place: usize| {
        let (start, end) =
            (place * windows.strides[axis], size[axis] + windows.pads[axis] + windows.pads[axis + 2]);
        end.saturating_sub(start).div_ceil(windows.dilations[axis]).min(windows.kernel[axis])
    };
    let mut extents = Vec::with_capacity(windows.size[0] * windows.size[1]);
    for y in 0..windows.size[0] {
        for x in 0..windows.size[1] {
            let [rows, columns] = [(0, y), (1, x)].map(|(axis, place)| inside(windows, axis, place, size).1);
            if rows * columns == 0 {
                return None;
            }
            let divisor = match pooling {
                Pooling::Mean(true) => counted(0, y) * counted(1, x),
                Pooling::Mean(false) => rows * columns,
                Pooling::Max | Pooling::Sum => 1,
            };
            extents.push(Extent { rows: rows as u32, columns: columns as u32, divisor: divisor as f32 });
        }
    }
    Some(extents)
}
