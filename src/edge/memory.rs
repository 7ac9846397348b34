//! Which memory each map has: maps share it where one is no longer read when the other is filled.

use super::program::Program;

/// The memory of a program's maps.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The buffer of each map.
    pub slots: Vec<usize>,
    /// What each buffer holds.
    pub buffers: Vec<Buffer>,
}

/// A buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Elements.
    pub length: usize,
    /// uint8, otherwise float32.
    pub bytes: bool,
    /// How many maps share it.
    pub maps: usize,
}

/// When a map is filled first and read last, by the number of the step; none for one that has a buffer of
/// its own: the image, constants, and what is of several images.
fn lifetimes(program: &Program) -> Vec<Option<[usize; 2]>> {
    let mut lives: Vec<Option<[usize; 2]>> = vec![None; program.maps.len()];
    for (i, step) in program.steps.iter().enumerate() {
        lives[step.to].get_or_insert([i, i]);
        for map in step.reads() {
            if let Some(life) = &mut lives[map] {
                life[1] = i;
            }
        }
    }
    for output in &program.outputs {
        if let Some(life) = &mut lives[*output] {
            life[1] = usize::MAX;
        }
    }
    for (map, life) in program.maps.iter().zip(&mut lives) {
        if map.images > 1 {
            *life = None;
        }
    }
    lives[0] = None;
    lives
}

/// Which maps anything fills or reads.
fn used(program: &Program) -> Vec<bool> {
    let mut used = vec![false; program.maps.len()];
    let steps = program.steps.iter().flat_map(|s| s.reads().chain([s.to]));
    steps.chain(program.outputs.iter().copied()).chain([0]).for_each(|map| used[map] = true);
    used
}

/// Gives each map a buffer, and tells the steps that fill a shared one first that its border is to be cleared.
pub fn assigned(mut program: Program) -> Program {
    let lives = lifetimes(&program);
    let mut memory = Memory { slots: vec![usize::MAX; program.maps.len()], buffers: Vec::new() };
    let used = used(&program);
    // Until when each buffer is read.
    let mut busy: Vec<usize> = Vec::new();
    let mut order: Vec<usize> = (0..program.maps.len()).collect();
    order.sort_by_key(|map| lives[*map].map_or(0, |[first, _]| first));
    for number in order {
        let map = &program.maps[number];
        let life = lives[number];
        let length = if used[number] { map.elements() } else { 0 };
        let free = life.and_then(|[first, _]| {
            let fits = |i: &usize| busy[*i] < first && memory.buffers[*i].bytes == map.bytes;
            // The least that is large enough, or the largest.
            let waste = |i: &usize| {
                let own = memory.buffers[*i].length;
                if own >= length { (0, own - length) } else { (1, length - own) }
            };
            (0..busy.len()).filter(fits).min_by_key(waste)
        });
        let slot = free.unwrap_or_else(|| {
            memory.buffers.push(Buffer { length: 0, bytes: map.bytes, maps: 0 });
            busy.push(0);
            busy.len() - 1
        });
        let buffer = &mut memory.buffers[slot];
        (buffer.length, buffer.maps) = (buffer.length.max(length), buffer.maps + 1);
        busy[slot] = life.map_or(usize::MAX, |[_, last]| last);
        memory.slots[number] = slot;
    }
    let mut filled = vec![false; program.maps.len()];
    for step in &mut program.steps {
        let shared = memory.buffers[memory.slots[step.to]].maps > 1;
        let first = !std::mem::replace(&mut filled[step.to], true);
        step.clears = shared && first && program.maps[step.to].border != [0; 4];
    }
    Program { memory, ..program }
}
