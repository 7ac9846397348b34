//! Work that is shared out over the cores; where the target has no threads, the one there is does all of it.

/// The cores.
#[cfg(not(target_family = "wasm"))]
pub fn count() -> usize {
    rayon::current_num_threads()
}

/// `work` of each number below `count`, in their order.
#[cfg(not(target_family = "wasm"))]
pub fn shared<T: Send>(count: usize, work: impl Fn(usize) -> T + Send + Sync) -> Vec<T> {
    use rayon::prelude::*;
    (0..count).into_par_iter().map(work).collect()
}

#[cfg(target_family = "wasm")]
pub fn count() -> usize {
    1
}

#[cfg(target_family = "wasm")]
pub fn shared<T>(count: usize, work: impl Fn(usize) -> T) -> Vec<T> {
    (0..count).map(work).collect()
}
