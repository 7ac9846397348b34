//! Loops of few rounds, whose number is known when they are compiled, and whose values stay in registers.
//!
//! Compilers unroll them. The WebAssembly module, however, is compiled to be small, and then they do not: there the
//! rounds are written out.

/// `for $i in 0..$n`.
#[cfg(not(target_family = "wasm"))]
macro_rules! each {
    ($i:ident < $n:expr, $body:block) => {
        for $i in 0..$n $body
    };
}

/// `for $i in 0..$n`, with `$n` up to 12.
#[cfg(target_family = "wasm")]
macro_rules! each {
    ($i:ident < $n:expr, $body:block) => {
        const { assert!($n <= 12, "more rounds than are written out") };
        each!(@ $i, $n, $body, 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    (@ $i:ident, $n:expr, $body:block, $($round:literal)*) => {
        $(if $round < $n {
            let $i = $round;
            $body
        })*
    };
}

/// N times the same.
#[inline(always)]
pub fn array<T: Copy, const N: usize>(value: T) -> [T; N] {
    #[cfg(not(target_family = "wasm"))]
    {
        [value; N]
    }
    #[cfg(target_family = "wasm")]
    {
        let mut all = std::mem::MaybeUninit::<[T; N]>::uninit();
        let first = all.as_mut_ptr().cast::<T>();
        // SAFETY: each of the N places is inside, and is written.
        unsafe {
            each!(i < N, { first.add(i).write(value) });
            all.assume_init()
        }
    }
}
