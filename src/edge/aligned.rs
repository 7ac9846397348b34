//! Memory that begins where a cache line does.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the longest vectors.
const LINE: usize = 64;

/// Elements of which the first begins at a multiple of 64 bytes: vectors of whole pixels do not straddle cache lines then,
/// which costs a second access each.
#[derive(Debug, Default)]
pub struct Aligned<T> {
    all: Vec<T>,
    skipped: usize,
    length: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// So many elements, all 0.
    pub fn new(length: usize) -> Self {
        let all = vec![T::default(); length + LINE / size_of::<T>()];
        let skipped = all.as_ptr().align_offset(LINE).min(all.len() - length);
        Self { all, skipped, length }
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.all[self.skipped..self.skipped + self.length]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.all[self.skipped..self.skipped + self.length]
    }
}

impl<T: Copy + Default> Clone for Aligned<T> {
    /// In other memory, other elements must be skipped.
    fn clone(&self) -> Self {
        let mut other = Self::new(self.length);
        other.copy_from_slice(self);
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_its_copies_begin_at_lines() {
        for length in [0, 1, 63, 1000, 1 << 20] {
            let mut memory = Aligned::<f32>::new(length);
            memory.fill(0.5);
            let copy = memory.clone();
            assert!([&memory, &copy].iter().all(|m| m.as_ptr().addr().is_multiple_of(LINE)));
            assert!(copy.len() == length && *copy == *memory);
        }
    }
}
