//! Functions of bytes by tables of all that they can be.

use super::Kernels;

/// What a function gives for each byte.
#[derive(Clone, Debug, PartialEq)]
pub struct Table<O> {
    /// The same for all channels, or for each its own.
    channels: Vec<[O; 256]>,
}

impl<O: Copy + Default> Table<O> {
    /// `of(channel, byte)` for each channel, or for all of them.
    pub fn new(channels: usize, of: impl Fn(usize, usize) -> O) -> Self {
        let channels = (0..channels).map(|c| std::array::from_fn(|byte| of(c, byte))).collect();
        Self { channels }
    }

    /// The table, if it is the same for all channels.
    fn single(&self) -> Option<&[O; 256]> {
        if let [table] = &self.channels[..] { Some(table) } else { None }
    }

    /// Looks up rows of `width` bytes, pixel after pixel, which begin at `rows`; `out` begins at `at`.
    pub fn look_up(&self, (x, rows): (&[u8], &[u32]), width: usize, (out, at): (&mut [O], &[u32])) {
        for (from, to) in rows.iter().zip(at) {
            let (x, out) = (&x[*from as usize..][..width], &mut out[*to as usize..][..width]);
            match &self.channels[..] {
                [table] => out.iter_mut().zip(x).for_each(|(to, x)| *to = table[usize::from(*x)]),
                tables => {
                    let pixels = out.chunks_exact_mut(tables.len()).zip(x.chunks_exact(tables.len()));
                    for (out, x) in pixels {
                        let elements = out.iter_mut().zip(x).zip(tables);
                        elements.for_each(|((to, x), table)| *to = table[usize::from(*x)]);
                    }
                }
            }
        }
    }
}

impl Kernels {
    /// As [`Table::look_up`], many bytes at once where there are instructions for it.
    pub fn look_up(
        &self,
        table: &Table<u8>,
        (x, rows): (&[u8], &[u32]),
        width: usize,
        (out, at): (&mut [u8], &[u32]),
    ) {
        let (Some(look_up), Some(all)) = (self.look_up, table.single()) else {
            return table.look_up((x, rows), width, (out, at));
        };
        for (from, to) in rows.iter().zip(at) {
            let (x, out) = (&x[*from as usize..][..width], &mut out[*to as usize..][..width]);
            // SAFETY: the kernels were chosen for this CPU.
            unsafe { look_up(all, x, out) };
        }
    }
}
