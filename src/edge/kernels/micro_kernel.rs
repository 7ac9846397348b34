//! The one loop of all products.

/// Defines `unsafe fn NAME<const V, const P>`, a [`super::MicroKernel`].
///
/// The sums of P pixels by V vectors stay in registers while the walk goes over the runs of the
/// window: in images with the channels innermost (`[H, W, C]`), a row of the window is one run of
/// memory (of a dilated window, and of a group of channels, each pixel is one), so im2col is implicit:
/// nothing is gathered or copied first. Each step broadcasts one group of neighbours to a vector and adds
/// its products with V vectors of weights.
macro_rules! micro_kernel {
    (
        $(#[$attribute:meta])*
        $name:ident: $x:ty, lanes $lanes:expr, sums $zero:expr, lines $nothing:expr,
        load $load:path, broadcast $broadcast:path, add $add:path, store $store:path
    ) => {
        #[cfg_attr(target_family = "wasm", optimize(speed))]
        $(#[$attribute])*
        unsafe fn $name<const V: usize, const P: usize>(
            x: *const $x,
            offsets: *const u32,
            walk: &Walk<'_>,
            mut w: *const <$x as Element>::Weight,
            out: *mut <$x as Element>::Sum,
        ) {
            use super::unroll::array;
            const GROUP: usize = <$x as Element>::GROUP;
            // SAFETY: the caller keeps the promises of `MicroKernel`, which bound every address below.
            unsafe {
                let mut runs: [_; P] = array(x);
                each!(p < P, {
                    runs[p] = x.add(*offsets.add(p) as usize);
                });
                let mut sums: [[_; V]; P] = array(array($zero));
                for advance in walk.advances {
                    for k in 0..walk.steps {
                        let mut weights: [_; V] = array($nothing);
                        each!(v < V, {
                            weights[v] = $load(w.add(v * $lanes * GROUP));
                        });
                        w = w.add(V * $lanes * GROUP);
                        each!(p < P, {
                            let value = $broadcast(runs[p].add(k * GROUP));
                            each!(v < V, {
                                sums[p][v] = $add(sums[p][v], value, weights[v]);
                            });
                        });
                    }
                    each!(p < P, {
                        runs[p] = runs[p].wrapping_add(*advance);
                    });
                }
                each!(p < P, {
                    each!(v < V, {
                        $store(out.add((p * V + v) * $lanes), sums[p][v]);
                    });
                });
            }
        }
    };
}

/// Defines `unsafe fn NAME<const V, const P>`, a [`super::FinishingKernel`]: the same loop, whose sums begin with something,
/// and are finished and stored out of their registers.
#[cfg(target_arch = "x86_64")]
macro_rules! finishing_kernel {
    (
        $(#[$attribute:meta])*
        $name:ident: $x:ty, lanes $lanes:expr, sums $zero:expr, begin $begin:path, load $load:path,
        broadcast $broadcast:path, add $add:path, finish $finish:path
    ) => {
        $(#[$attribute])*
        unsafe fn $name<const V: usize, const P: usize>(
            x: *const $x,
            offsets: *const u32,
            walk: &Walk<'_>,
            mut w: *const <$x as Element>::Weight,
            how: &super::Finish<$x>,
            out: *mut $x,
            at: *const u32,
        ) {
            const GROUP: usize = <$x as Element>::GROUP;
            // SAFETY: the caller keeps the promises of `FinishingKernel`, which bound every address below.
            unsafe {
                let mut runs = [x; P];
                for p in 0..P {
                    runs[p] = x.add(*offsets.add(p) as usize);
                }
                let mut begin = [$zero; V];
                for v in 0..V {
                    begin[v] = $begin(how.begin.add(v * $lanes));
                }
                let mut sums = [begin; P];
                for advance in walk.advances {
                    for k in 0..walk.steps {
                        let mut weights = [$zero; V];
                        for v in 0..V {
                            weights[v] = $load(w.add(v * $lanes * GROUP));
                        }
                        w = w.add(V * $lanes * GROUP);
                        for p in 0..P {
                            let value = $broadcast(runs[p].add(k * GROUP));
                            for v in 0..V {
                                sums[p][v] = $add(sums[p][v], value, weights[v]);
                            }
                        }
                    }
                    for p in 0..P {
                        runs[p] = runs[p].wrapping_add(*advance);
                    }
                }
                for p in 0..P {
                    $finish(sums[p], how, p, out.add(*at.add(p) as usize));
                }
            }
        }
    };
}
