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
            const GROUP: usize = <$x as Element>::GROUP;
            // SAFETY: the caller keeps the promises of `MicroKernel`, which bound every address below.
            unsafe {
                let mut runs = [x; P];
                for p in 0..P {
                    runs[p] = x.add(*offsets.add(p) as usize);
                }
                let mut sums = [[$zero; V]; P];
                for advance in walk.advances {
                    for k in 0..walk.steps {
                        let mut weights = [$nothing; V];
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
                    for run in &mut runs {
                        *run = run.wrapping_add(*advance);
                    }
                }
                for p in 0..P {
                    for v in 0..V {
                        $store(out.add((p * V + v) * $lanes), sums[p][v]);
                    }
                }
            }
        }
    };
}
